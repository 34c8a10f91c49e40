"""Keeps what a flow made earlier in a folder, as long as it is still what that flow would make.

FOLDER/<flow>.json                   which parts were made, from what, and the digest of each file

A part is a file or a folder. It is kept if it was made from the same inputs and no file of it was
changed, removed or added since; otherwise it is made again. What the flow did not make is never
touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tpactl import __version__
from tpactl.errors import InputError, UsageError
from tpactl.formats.files import (
    Record,
    canonical_json,
    read_json,
    sha256_of,
    sha256_of_file,
    write_json,
)
from tpactl.formats.held import hold
from tpactl.formats.unfinished import BUILDING_PREFIX

SCHEMA_VERSION = 1


class Part(Record, kw_only=True):
    """One part that was made, or was being made when the flow stopped."""

    made_from: str
    """Digest of everything that decides the part, the version of tpactl included."""
    files: dict[str, str]
    """Path within the part to ``sha256:<hex>``; the path is empty for a part that is one file, the
    whole is empty for a part that is unfinished."""


class Book(Record, kw_only=True):
    """What ``<flow>.json`` holds."""

    schema_version: int = SCHEMA_VERSION
    parts: dict[str, Part]


class Parts:
    """The parts of one folder; made by ``parts_of``."""

    def __init__(self, folder: Path, record: Path) -> None:
        self.folder = folder
        self._record = record
        self._book = read_json(record, Book) if record.exists() else Book(parts={})
        if self._book.schema_version != SCHEMA_VERSION:
            raise InputError(
                f"{record} has schema version {self._book.schema_version}; this tpactl reads "
                f"{SCHEMA_VERSION}",
                f"delete {folder} or choose another folder",
            )

    def keep_or_make(self, name: str, made_from: Any, make: Callable[[Path], object]) -> bool:
        """Make the part ``name`` unless a valid one is there; return whether it was kept.

        Args:
            name: of the file or folder.
            made_from: everything that decides what the part is, as plain values.
            make: writes the part, whole or not at all, at the path it is given.

        Raises:
            UsageError: something of that name is there that this flow did not make.
        """
        if self.keep(name, made_from):
            return True
        make(self.folder / name)
        self.made(name)
        return False

    def keep(self, name: str, made_from: Any) -> bool:
        """Return whether a valid part ``name`` is there; if not, make room for what ``made`` ends.

        Args:
            name: of the file or folder.
            made_from: everything that decides what the part is, as plain values.

        Raises:
            UsageError: something of that name is there that this flow did not make.
        """
        path = self.folder / name
        digest = sha256_of(canonical_json([__version__, made_from]))
        part = self._book.parts.get(name)
        if part is None and (path.exists() or path.is_symlink()):
            raise UsageError(
                f"{path} exists and is not from an earlier run in this folder",
                "choose another --workdir, or move it away",
            )
        # An unfinished part has no files noted, and one that is gone has none there.
        valid = part is not None and part.made_from == digest and bool(part.files)
        if part is not None and valid and _files(path) == part.files:
            return True
        # Claimed before it is made: after an interrupt the next run knows that it may replace it.
        self._note(name, Part(made_from=digest, files={}))
        _remove(path)
        return False

    def made(self, name: str) -> None:
        """Note that the part for which ``keep`` made room is there now, whole."""
        made_from = self._book.parts[name].made_from
        self._note(name, Part(made_from=made_from, files=_files(self.folder / name)))

    def digest(self, name: str) -> str:
        """Return the digest of the part's content."""
        return sha256_of(canonical_json(self._book.parts[name].files))

    def _note(self, name: str, part: Part) -> None:
        self._book = Book(parts={**self._book.parts, name: part})
        write_json(self._record, self._book)


@contextmanager
def parts_of(folder: Path, flow: str) -> Iterator[Parts]:
    """Yield the parts of ``folder``, which is made if need be, for one process at a time.

    Args:
        folder: where the flow works.
        flow: its name; ``<flow>.json`` in the folder is its record.

    Raises:
        UsageError: ``folder`` is a file, or another process works in it.
        InputError: the record was changed by hand.
        MachineError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder is needed", "choose another --workdir")
    busy = UsageError(
        f"another tpactl {flow} is working in {folder}",
        "wait until it is done, or choose another --workdir",
    )
    lock = hold(folder, f".{flow}.lock", busy)
    try:
        record = folder / f"{flow}.json"
        if record.exists():
            # Left behind where a process was killed without a chance to clean up.
            for unfinished in folder.glob(BUILDING_PREFIX + "*"):
                _remove(unfinished)
        yield Parts(folder, record)
    finally:
        lock.release()


def folder_digest(folder: Path) -> str:
    """Return the digest of a folder's files: their relative paths and their content."""
    return sha256_of(canonical_json(_files(folder)))


def _files(path: Path) -> dict[str, str]:
    """Return the digest of each file of a part; empty where nothing is there."""
    if path.is_file():
        return {"": sha256_of_file(path)}
    return {
        file.relative_to(path).as_posix(): sha256_of_file(file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
