"""The files of a source folder: which are audio, and which one a name in a table means.

A name may lead nowhere else than into the source (or the folder given as --audio-root): a table
from elsewhere must not make tpactl read other files of this machine.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from tpactl.audio.suffixes import AUDIO_SUFFIXES
from tpactl.errors import InputError
from tpactl.formats.unfinished import BUILDING_PREFIX


class UnusableNameError(Exception):
    """A name that means no file of the source; the message is the reason.

    ``path`` is what lies there under that name, where something does.
    """

    path: Path | None = None


@dataclass
class SourceFiles:
    """Every file under ``root``; hidden folders and prepared data sets left out.

    Args:
        root: the source folder.
        audio_root: where else audio may lie.
    """

    root: Path
    audio_root: Path | None = None
    files: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        for folder, folders, names in os.walk(self.root, onerror=_refuse):
            here = Path(folder)
            prepared = here != self.root and "dataset.json" in names
            folders[:] = (
                [] if prepared else sorted(name for name in folders if not name.startswith("."))
            )
            if not prepared and not here.name.startswith(BUILDING_PREFIX):
                self.files += [here / name for name in sorted(names) if not name.startswith(".")]
        self._by_name = {_composed(self.relative(path)): path for path in self.files}
        self._real_roots = [
            root.resolve() for root in (self.root, self.audio_root) if root is not None
        ]

    def relative(self, path: Path) -> str:
        """Return ``path`` as seen from the source, with forward slashes."""
        inside = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        # A name of bytes that are no UTF-8 could not be stored.
        return os.fsencode(inside.as_posix()).decode("utf-8", "replace")

    def audio(self) -> list[Path]:
        """Return all files whose suffix is one of audio."""
        return [path for path in self.files if path.suffix.lower() in AUDIO_SUFFIXES]

    def find(self, name: str, beside: Path) -> Path:
        """Return the file that ``name`` means in a table lying in ``beside``.

        Composed and decomposed accents are taken as equal, backslashes as slashes.

        Raises:
            UnusableNameError: no such file, or one outside the source.
        """
        if not name.strip() or "\0" in name:
            raise UnusableNameError("the row names no file")
        outside = True
        for spelled in dict.fromkeys((name, name.replace("\\", "/"))):
            for folder in dict.fromkeys((beside, self.root, self.audio_root or self.root)):
                path = Path(os.path.normpath(folder / spelled))
                if not any(path.is_relative_to(root) for root in self._roots()):
                    continue
                outside = False
                known = self._by_name.get(_composed(self.relative(path)))
                found = known if known is not None else path
                if os.path.lexists(found):
                    try:
                        return self.inside(found)
                    except UnusableNameError as error:
                        error.path = found
                        raise
        if outside:
            raise UnusableNameError(
                "lies outside the source; allow its folder with --audio-root, if it is yours"
            )
        raise UnusableNameError("no such file")

    def inside(self, path: Path) -> Path:
        """Return ``path`` where it is a file whose real place is inside the source.

        Raises:
            UnusableNameError: it is no file, or a link that leads nowhere or outside.
        """
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise UnusableNameError("a link that leads nowhere") from error
        if not any(real.is_relative_to(root) for root in self._real_roots):
            raise UnusableNameError(
                "a link to a file outside the source; allow its folder with --audio-root"
            )
        if not real.is_file():
            raise UnusableNameError("is no file")
        return path

    def _roots(self) -> list[Path]:
        plain = [self.root] if self.audio_root is None else [self.root, self.audio_root]
        return [Path(os.path.normpath(root)) for root in plain] + self._real_roots


def _refuse(error: OSError) -> None:
    raise InputError(
        f"{error.filename}: cannot be read: {error.strerror or error}",
        "make the folder readable, or take it out of the source",
    ) from error


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
