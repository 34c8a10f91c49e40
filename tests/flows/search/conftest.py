"""A search on tones: the accent that its base has never heard, in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.train.conftest import accent, quick, taught, tones  # noqa: F401  (fixtures)
from tpactl.flows.search.budget import Limits
from tpactl.flows.search.search import search
from tpactl.formats.run import RunConfig
from tpactl.formats.search import SearchRecord

SPACE = {
    "adapter.bottleneck_dim": [4, 8, 16],
    "adapter.blocks": ["all", [2]],
    "training.learning_rate": {"low": 0.5, "high": 2, "log": True, "times_default": True},
    "training.spec_augment": [True, False],
}
SHORT = ("training.max_epochs=16", "training.evaluations=6")


def space_file(folder: Path, space: dict) -> Path:
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(space))
    return file


def around(base: Path, data: Path, *overrides: str) -> RunConfig:
    """The default trial."""
    return quick(base, f"data={data}", *SHORT, *overrides)


def outline(record: SearchRecord) -> dict:
    """What must be the same whenever the same search is made, whatever it is interrupted by."""
    trials = [
        (t.number, t.settings, t.state, t.scores, t.progress, t.trained_parameters, t.cached_prefix)
        for t in record.trials
    ]
    confirmed = record.confirmation
    assert confirmed is not None
    return {"trials": trials, "best": record.best, "rates": confirmed.rates}


@pytest.fixture(scope="session")
def found(taught, accent, tmp_path_factory):  # noqa: F811
    """A search of six trials that nothing disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("search")
    space = space_file(folder, SPACE)
    out = folder / "search"
    return search(around(taught, accent), out, Limits(trials=6), space=space), out
