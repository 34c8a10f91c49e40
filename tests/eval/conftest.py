from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.eval.builders import (
    copy,
    heard_by,
    talking_base,
    write_data,
    write_package,
    write_run,
)


@dataclass(frozen=True)
class Room:
    """A base, a test set it recognises without an error, and systems that do not."""

    base: Path
    data: Path
    tpa: Path
    head: Path
    full: Path
    package: Path


@pytest.fixture(scope="session")
def room(tmp_path_factory) -> Room:
    folder = tmp_path_factory.mktemp("eval")
    base = talking_base(folder / "base")
    draft = write_data(folder / "draft", [""] * 14)
    return Room(
        base=base,
        data=write_data(folder / "data", heard_by(base, draft)),
        tpa=write_run(folder / "runs" / "tpa", base),
        head=write_run(folder / "runs" / "head", base, method="head", seed=2),
        full=write_run(folder / "runs" / "full", base, method="full", seed=3),
        package=write_package(folder / "picking.tpa", folder / "runs" / "tpa", base),
    )


@pytest.fixture
def data(room, tmp_path) -> Path:
    """A copy of the test set that a test may damage."""
    return copy(room.data, tmp_path / "data")
