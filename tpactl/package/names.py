"""What a package may be called: names and versions that every OCI registry takes."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

from tpactl.errors import UsageError

_WORD = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_NAME = re.compile(rf"{_WORD}/{_WORD}")
_MOST_NAME = 128

# Source: https://semver.org/#is-there-a-suggested-regular-expression-regex-to-check-a-semver-string
_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PRE}(?:\.{_PRE})*)?")
_MOST_VERSION = 128
"""Length of an OCI tag: distribution-spec v1.1, "Pulling manifests"."""


def is_name(name: str) -> bool:
    """Return whether ``name`` is ``department/task``: lower-case words, digits and dashes."""
    return len(name) <= _MOST_NAME and _NAME.fullmatch(name) is not None


def is_version(version: str) -> bool:
    """Return whether ``version`` is a semantic version that can be an OCI tag."""
    return len(version) <= _MOST_VERSION and _VERSION.fullmatch(version) is not None


def check_name(name: str) -> None:
    """Raise where ``name`` cannot be a package's name.

    Raises:
        UsageError: it is not ``department/task``.
    """
    if not is_name(name):
        raise UsageError(
            f"--name is {name!r}; it must be department/task, two words of lower-case letters, "
            "digits and dashes",
            "for example: --name warehouse/picking",
        )


def check_version(version: str) -> None:
    """Raise where ``version`` cannot be a package's version.

    Raises:
        UsageError: no semantic version, or one with build metadata, which no OCI tag can hold.
    """
    if is_version(version):
        return
    without_build, plus, _ = version.partition("+")
    if plus and is_version(without_build):
        raise UsageError(
            f"--version is {version!r}; build metadata after + cannot be part of an OCI tag",
            f"use --version {without_build}",
        )
    raise UsageError(
        f"--version is {version!r}; it must be a semantic version X.Y.Z or X.Y.Z-PRERELEASE",
        "for example: --version 1.0.0",
    )


def portable(ref: str) -> str:
    """Return ``ref`` without a machine's folders: hub ids and plain names stay, paths shrink.

    >>> portable("nvidia/parakeet-ctc-1.1b@v1"), portable("/home/me/bases/large/")
    ('nvidia/parakeet-ctc-1.1b@v1', 'large')
    """
    path = PureWindowsPath(ref) if "\\" in ref else PurePosixPath(ref)
    is_local = path.is_absolute() or bool(path.drive) or ref.startswith((".", "~"))
    return path.name if is_local or len(path.parts) > 2 else str(path)
