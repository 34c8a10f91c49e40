"""Write whole or not at all, read strictly: the storage every record goes through.

A file appears under its name only when its bytes are on disk (temporary name in the same folder,
fsync, rename, fsync of the folder). A folder is built beside its place and renamed into it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import msgspec

from tpactl.errors import InputError, MachineError
from tpactl.formats.unfinished import BUILDING_PREFIX, unfinished

T = TypeVar("T")

_REFUSED_BY_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


@dataclass_transform(frozen_default=True)
class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen record; an unknown or missing key on reading is an error that names it.

    Subclass it with ``kw_only=True``, which msgspec does not inherit.
    """


def to_builtins(record: Any) -> Any:
    """Return ``record`` as plain dicts, lists and scalars, ready for JSON or YAML."""
    return msgspec.to_builtins(record)


def canonical_json(value: Any) -> bytes:
    """Return one fixed byte string for ``value``: sorted keys, no spaces, UTF-8 (RFC 8785 style).

    Used wherever bytes are digested. Raises ``ValueError`` on NaN and infinities.
    """
    return json.dumps(
        to_builtins(value),
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    ).encode()


def sha256_of(content: bytes) -> str:
    """Return ``sha256:<hex>``, as every digest of tpactl is written."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return ``sha256:<hex>`` of a file of any size."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds all of it or what it held before.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=BUILDING_PREFIX, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes 0600; give the file the permissions an ordinary write would have.
            umask = os.umask(0)
            os.umask(umask)
            Path(name).chmod(0o666 & ~umask)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_json(path: Path, record: Any) -> None:
    """Write one record as indented JSON with a final newline."""
    text = json.dumps(to_builtins(record), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def write_jsonl(path: Path, records: Iterable[Any]) -> None:
    """Write many records as JSON lines."""
    lines = [
        json.dumps(to_builtins(record), ensure_ascii=False, allow_nan=False) for record in records
    ]
    write_bytes(path, ("\n".join(lines) + "\n").encode() if lines else b"")


def read_json(path: Path, kind: type[T]) -> T:
    """Read one record.

    Raises:
        InputError: no such file, not JSON, or not a ``kind``; the message names the key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}",
            "check the path, or run the command that writes it again",
        ) from error
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a valid {kind.__name__}: {error}",
            "it was written by another version or changed by hand; write it again with tpactl",
        ) from error


def read_jsonl(path: Path, kind: type[T]) -> Iterator[T]:
    """Yield the records of a JSON-lines file, one at a time.

    Raises:
        InputError: as ``read_json``, with the line number.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}",
            "check the path, or run the command that writes it again",
        ) from error
    decoder = msgspec.json.Decoder(kind)
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InputError(
                    f"{path} line {number}: not a valid {kind.__name__}: {error}",
                    "correct the line, or write the file again with tpactl",
                ) from error


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` when the block ends without an error.

    On an error or an interrupt nothing appears at ``path`` and the unfinished folder is deleted;
    after a kill the next one in the same place deletes it.

    Args:
        path: where the finished folder goes; it must not exist unless ``replace``.
        replace: an existing folder at ``path`` is exchanged for the new one.

    Raises:
        InputError: ``path`` exists and ``replace`` is not set.
        MachineError: the disk is full or the parent cannot be written.
    """
    if not replace:
        _refuse_to_replace(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        with unfinished(path.parent) as building:
            building.mkdir()
            yield building
            if not replace:  # somebody else may have been faster
                _refuse_to_replace(path)
            put_in_place(building, path)
    except OSError as error:
        # Only what the disk refused; another OSError of the block keeps its own meaning.
        if is_refusal_of_disk(error):
            raise cannot_write(path, error) from error
        raise


def _refuse_to_replace(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            f"{path} exists already", "choose another --out, or delete it if it is not needed"
        )


def put_in_place(building: Path, path: Path) -> None:
    """Rename the folder ``building`` to ``path``; what is there stays where that does not succeed.

    A crash between the two renames leaves the old folder whole, under a name that no rerun deletes.
    """
    retired = None
    if path.exists():
        retired = Path(tempfile.mkdtemp(prefix=f".replaced-{path.name}-", dir=path.parent))
        retired.rmdir()
        path.rename(retired)
    try:
        building.rename(path)
    except BaseException:
        if retired is not None and not path.exists():
            retired.rename(path)
        raise
    sync_folder(path.parent)
    if retired is not None:
        shutil.rmtree(retired)


def cannot_write(path: Path, error: OSError) -> MachineError:
    """Return the error for a failed write at ``path``."""
    return MachineError(
        f"{path}: cannot be written: {error.strerror or error}",
        "free disk space or choose a folder you may write to, then run the command again",
    )


def is_refusal_of_disk(error: OSError) -> bool:
    """Return whether the disk or its permissions, not the program, are the reason of ``error``."""
    return error.errno in _REFUSED_BY_DISK


def sync_folder(path: Path) -> None:
    """Return when the names in the folder ``path`` are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
