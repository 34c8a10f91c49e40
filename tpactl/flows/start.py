"""Writes a new department's folder from ``templates/``: layout, run file, model card."""

from __future__ import annotations

from pathlib import Path

from tpactl import shipped
from tpactl.errors import UsageError
from tpactl.formats.files import cannot_write, write_bytes

FOR_CONTRIBUTORS = (Path("method.py"),)
"""Templates of tpactl's own code, which no department needs."""


def start(folder: Path) -> list[Path]:
    """Copy the templates into ``folder`` and return the paths written, relative to it.

    Files of other names that are there already stay; on an error or an interrupt nothing is added.

    Raises:
        UsageError: a file of one of the templates' names exists, or a file where a folder is
            needed.
        MachineError: the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a folder is needed", "choose another name")
    source = shipped.templates()
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    names = [name for name in names if name not in FOR_CONTRIBUTORS]
    present = [name.as_posix() for name in names if (folder / name).exists()]
    if present:
        raise UsageError(
            f"{folder} has {len(present)} of the files that init writes; it overwrites none",
            "choose another folder, or move these away",
            details=present,
        )
    blocked = {folder / parent for name in names for parent in name.parents}
    in_the_way = sorted(path for path in blocked if path.exists() and not path.is_dir())
    if in_the_way:
        raise UsageError(f"{in_the_way[0]} is a file; a folder is needed", "move it away")
    made: list[Path] = []
    try:
        for name in names:
            for parent in reversed(name.parents[:-1]):
                _make_folder(folder / parent, made)
            _make_folder(folder, made)
            made.append(folder / name)
            write_bytes(folder / name, (source / name).read_bytes())
    except BaseException:
        for path in reversed(made):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        raise
    return names


def _make_folder(folder: Path, made: list[Path]) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        try:
            path.mkdir()
        except OSError as error:
            raise cannot_write(path, error) from error
        made.append(path)
