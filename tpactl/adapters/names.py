"""Which adapter a short name means, among those that are given."""

from __future__ import annotations

from collections.abc import Sequence


def called(name: str, names: Sequence[str]) -> list[str]:
    """Return those of ``names`` that ``name`` may mean.

    A package is called ``department/task@version``: the version, and the task as well, may be left
    out where that leaves one package. A run is called as its folder.

    Args:
        name: as somebody wrote it.
        names: of all adapters there are.
    """
    if name in names:
        return [name]
    return [full for full in names if name in (full.partition("@")[0], _department(full))]


def _department(full: str) -> str | None:
    return full.partition("/")[0] if "/" in full and "@" in full else None
