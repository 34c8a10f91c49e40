"""What the installed tpactl says that it needs, and which of it is there.

Read from the installation's own metadata, which ``pyproject.toml`` became, so that no list here can
differ from what pip installs.
"""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement

FOR_CONTRIBUTORS = "dev"
"""The extra that nobody else needs."""


@dataclass(frozen=True)
class Package:
    """A distribution that tpactl asks for.

    Attributes:
        name: as in ``pyproject.toml``.
        wanted: the versions that will do; empty for any.
        installed: the version that is there; ``None`` where none is.
        fits: whether it is one of those wanted.
    """

    name: str
    wanted: str
    installed: str | None
    fits: bool


def needed() -> list[Package]:
    """Return what is needed always.

    Raises:
        importlib.metadata.PackageNotFoundError: tpactl itself is not installed.
    """
    return [package for extra, package in _declared() if extra is None]


def extras() -> dict[str, list[Package]]:
    """Return what each extra needs, by the extra's name."""
    found: defaultdict[str, list[Package]] = defaultdict(list)
    for extra, package in _declared():
        if extra not in (None, FOR_CONTRIBUTORS):
            found[str(extra)].append(package)
    return dict(found)


def _declared() -> Iterator[tuple[str | None, Package]]:
    of_tpactl = importlib.metadata.metadata("tpactl")
    names = of_tpactl.get_all("Provides-Extra") or []
    for line in of_tpactl.get_all("Requires-Dist") or []:
        asked = Requirement(line)
        # A marker that holds without any extra is for everybody.
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            yield None, _look(asked)
        else:
            for extra in names:
                if asked.marker.evaluate({"extra": extra}):
                    yield extra, _look(asked)


def _look(asked: Requirement) -> Package:
    try:
        version = importlib.metadata.version(asked.name)
    except importlib.metadata.PackageNotFoundError:
        return Package(asked.name, str(asked.specifier), None, False)
    fits = asked.specifier.contains(version, prereleases=True)
    return Package(asked.name, str(asked.specifier), version, fits)
