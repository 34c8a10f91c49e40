"""Packages as they are given on a command line: files, or folders that hold many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tpactl.errors import InputError


def package_files(given: Sequence[Path]) -> list[Path]:
    """Return the ``.tpa`` files, those of a folder in the order of their names.

    Raises:
        InputError: a folder holds none.
    """
    files: list[Path] = []
    for path in given:
        held = sorted(path.glob("*.tpa")) if path.is_dir() else [path]
        if not held:
            raise InputError(
                f"{path}: no package in this folder",
                "give a .tpa file, or a folder that holds some",
            )
        files += held
    return files
