"""The tar around the layout: written with fixed bytes, read without trusting it.

Python's ``tarfile`` follows links, long names, sparse maps and sizes that an attacker chose. The
reader here knows regular files and folders under the layout's own names and refuses all else. It
extracts nothing: it says where in the file each member's content lies.

Times, owners, modes, the order of members and what fills up blocks are the container's own and not
looked at, so that a copy made by another tool stays valid.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block".
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from tpactl.errors import InputError, IntegrityError
from tpactl.formats.files import cannot_write
from tpactl.formats.unfinished import unfinished
from tpactl.package.layout import BLOBS, INDEX_FILE, LAYOUT_FILE
from tpactl.package.strict import GET_IT_AGAIN

_BLOCK = 512
_MOST_MEMBERS = 256
_MOST_PAX_BYTES = 64 * 1024
_FILE_NAME = re.compile(rf"{LAYOUT_FILE}|{re.escape(INDEX_FILE)}|{BLOBS}/[0-9a-f]{{64}}")
_FOLDERS = {"", ".", "blobs", BLOBS}
_HARMLESS_PAX = {"atime", "ctime", "mtime", "uid", "gid", "uname", "gname"}
"""Times and owners. Others could rename a member, change its size, or carry content."""
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"L": "a GNU long name",
    b"K": "a GNU long link",
    b"S": "a sparse file",
    b"g": "a global pax header",
}


@dataclass(frozen=True)
class Member:
    """A file of the archive: its content is ``size`` bytes from ``offset`` on."""

    name: str
    offset: int
    size: int


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that becomes ``path`` when the block ends without an error.

    Until then it has a name of its own in the same folder, which ``file.name`` tells.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(path.parent) as building:
            with building.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            building.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def write(file: IO[bytes], contents: dict[str, bytes | Path]) -> None:
    """Write members as a ustar whose bytes depend on names and contents only.

    Headers are written here and not by ``tarfile``, whose choices may change with Python.

    Args:
        file: where to.
        contents: member name to its content, or to the file that holds it.

    Raises:
        InputError: a member is too large for a ustar.
    """
    written = 0
    for name in sorted(contents):
        content = contents[name]
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        if size >= 8**11:
            raise InputError(
                f"{name} has {size} bytes; a package takes 8 GiB", "shrink the adapter"
            )
        file.write(_header(name, size))
        if isinstance(content, Path):
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        else:
            file.write(content)
        file.write(bytes(-size % _BLOCK))
        written += _BLOCK + size + -size % _BLOCK
    # Two zero blocks end a tar; tools then fill up their record of 20 blocks.
    file.write(bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % (20 * _BLOCK)))


def _header(name: str, size: int) -> bytes:
    """Return the ustar header of a regular file of nobody, mode 0644, from 1970."""
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,  # mode, user, group
        b"%011o\0" % size + b"00000000000\0",  # size, time
        b" " * 8 + b"0",  # checksum, counted as spaces; kind
        bytes(100) + b"ustar\x0000",  # link, magic and version
    )
    block = b"".join(fields).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def scan(file: BinaryIO, size: int) -> list[Member]:
    """Return the files of the tar in ``file``, which is ``size`` bytes long.

    Raises:
        IntegrityError: it is no tar of an OCI image layout, or holds anything beside one.
    """
    found: dict[str, Member] = {}
    folders: set[str] = set()
    position = 0
    headers = 0
    while True:
        file.seek(position)
        block = file.read(_BLOCK)
        if position == 0:
            _refuse_other_formats(block)
        if len(block) < _BLOCK:
            raise _broken("it is cut off: the end mark of the archive is missing")
        if not any(block):
            _check_end(file, size - position)
            return list(found.values())
        headers += 1
        if headers > _MOST_MEMBERS:
            raise _broken(f"more than {_MOST_MEMBERS} members; a package has about a dozen")
        _check_sum(block, position)
        kind, length = block[156:157], _octal(block[124:136])
        name = _name(block)
        start = position + _BLOCK
        if length > size - start:
            raise _broken(f"member {name!r} claims {length} bytes; {size - start} are left")
        position = start + -(-length // _BLOCK) * _BLOCK
        if kind == b"x":
            if length > _MOST_PAX_BYTES:
                raise _broken(f"a pax header of {length} bytes")
            file.seek(start)
            _check_pax(file.read(length))
        elif kind == b"5":
            if name not in _FOLDERS or name in folders or length:
                raise _added(f"the folder {name!r}")
            folders.add(name)
        elif kind in (b"0", b"\0"):
            if not _FILE_NAME.fullmatch(name):
                raise _added(repr(name))
            if name in found:
                raise _broken(f"{name} stands in the archive twice")
            found[name] = Member(name, start, length)
        else:
            raise _added(f"{name!r}, {_KINDS.get(kind, f'a member of kind {kind!r}')}")


def _refuse_other_formats(block: bytes) -> None:
    if not block:
        raise _broken("it is empty")
    if block.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")):
        raise IntegrityError(
            "the file is compressed; a .tpa is a plain tar",
            "decompress it (gunzip, zstd -d), or get the package again",
        )
    if block.startswith(b"PK"):
        raise IntegrityError("the file is a zip; a .tpa is a tar", GET_IT_AGAIN)


def _check_end(file: BinaryIO, left: int) -> None:
    # Two zero blocks end a tar; fewer mean that it was cut, and more are padding.
    if left < 2 * _BLOCK:
        raise _broken("it is cut off: the end mark of the archive is incomplete")
    left -= _BLOCK
    while left > 0:
        chunk = file.read(min(left, 1 << 20))
        if not chunk:
            raise _broken("it became shorter while it was read")
        if any(chunk):
            raise _added("content behind the archive's end mark")
        left -= len(chunk)


def _check_sum(block: bytes, position: int) -> None:
    if not block[257:262] == b"ustar":
        raise _broken(f"no tar header at byte {position}")
    expected = _octal(block[148:156])
    if expected != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise _broken(f"the tar header at byte {position} does not match its own checksum")


def _octal(field: bytes) -> int:
    # Strict on purpose: base-256 numbers and signs are how sizes are made to disagree.
    digits = field.strip(b" \0")
    if not digits or not all(c in b"01234567" for c in digits):
        raise _broken(f"a number in a tar header reads {field!r}")
    return int(digits, 8)


def _name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    if block[257:263] == b"ustar\0":  # GNU's variant keeps times where the prefix stands
        prefix = block[345:500].split(b"\0", 1)[0]
        name = prefix + b"/" + name if prefix else name
    text = name.decode("ascii", "backslashreplace")
    if block[156:157] == b"5":
        text = text.removesuffix("/")
    return text.removeprefix("./")


def _check_pax(content: bytes) -> None:
    rest = content
    while rest:
        match = re.match(rb"([0-9]{1,6}) ([A-Za-z.]+)=", rest)
        length = int(match[1]) if match else 0
        if match is None or not len(match[0]) < length <= len(rest) or rest[length - 1] != 0x0A:
            raise _broken("a pax header that cannot be read")
        key = match[2].decode()
        if key not in _HARMLESS_PAX:
            raise _added(f"a pax header with {key!r}")
        rest = rest[length:]


def _broken(reason: str) -> IntegrityError:
    return IntegrityError(f"the archive is damaged: {reason}", GET_IT_AGAIN)


def _added(what: str) -> IntegrityError:
    return IntegrityError(f"the archive holds what no package has: {what}", GET_IT_AGAIN)
