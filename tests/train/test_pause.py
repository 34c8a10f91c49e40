"""A training that was paused, and others made on the same base meanwhile, goes on bit for bit."""

from __future__ import annotations

import pytest

from tests.train.conftest import quick
from tests.train.test_resume import RANDOM, steps_of, weights
from tpactl.bases.load import load_base
from tpactl.formats.dataset import DataSet
from tpactl.formats.run import unfinished
from tpactl.train.reading import read_data
from tpactl.train.train import Paused, train

HALF = ("training.max_epochs=8", "training.evaluations=4")


def test_a_paused_training_ends_as_one_that_never_paused(tmp_path, taught, accent):
    config = quick(taught, *RANDOM, *HALF)
    other = quick(taught, *RANDOM, *HALF, "adapter.blocks=[2]", "training.learning_rate=1e-2")
    train(accent, config, tmp_path / "never")
    material = read_data(load_base(str(taught)), DataSet(accent), 2**30, None)
    asked = []

    def pause(progress: float) -> bool:
        asked.append(progress)
        return progress >= 0.5

    with pytest.raises(Paused):
        train(accent, config, tmp_path / "run", material=material, pause=pause)
    assert 0.5 <= asked[-1] < 0.75
    assert not (tmp_path / "run").exists()
    assert material.base.active_adapter is None
    train(accent, other, tmp_path / "other", material=material)
    train(accent, config, tmp_path / "run", resume=True, material=material)
    assert weights(tmp_path / "run") == weights(tmp_path / "never")
    assert weights(tmp_path / "run") != weights(tmp_path / "other")
    assert steps_of(tmp_path / "run") == steps_of(tmp_path / "never")
    assert not unfinished(tmp_path / "run").exists()


def test_a_training_that_is_over_is_not_paused(tmp_path, taught, accent):
    config = quick(taught, *HALF, "training.max_epochs=2")
    record = train(accent, config, tmp_path / "run", pause=lambda progress: progress >= 1)
    assert record.stopped_by == "epochs"
