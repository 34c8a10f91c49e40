"""A tiny base that knows the tones, and a department that speaks them with an accent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import tiny_base
from tests.train.tones import department
from tpactl.adapters.methods import FULL, find
from tpactl.formats.run import RunConfig
from tpactl.train.settings import read

FAST = [
    "training.batch_s=30",
    "training.learning_rate=5e-3",
    "training.head_learning_rate=5e-3",
    "training.max_epochs=40",
    "training.spec_augment=false",
    "training.speed_perturbation=false",
    "device=cpu",
]


def quick(base: Path, *overrides: str) -> RunConfig:
    """Return a configuration that trains a tiny base in a second."""
    method = next((o.partition("=")[2] for o in overrides if o.startswith("method=")), "tpa")
    is_residual = method != FULL and find(method).section == "adapter"
    shape = ["adapter.bottleneck_dim=16"] if is_residual else []
    return read(None, {"base": str(base)}, [*FAST, *shape, *overrides])


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A department of tones."""
    return department(tmp_path_factory.mktemp("tones") / "data", dev=10)


@pytest.fixture(scope="session")
def accent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A department whose tones are 1.4 times as high."""
    return department(tmp_path_factory.mktemp("accent") / "data", dev=10, accent=1.4)


@pytest.fixture(scope="session")
def taught(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that recognises ``tones``: a full training of a random one."""
    from tpactl.train.train import train

    folder = tmp_path_factory.mktemp("taught")
    config = quick(
        tiny_base(folder / "random"),
        "method=full",
        "training.max_epochs=100",
        "training.learning_rate=1e-2",
        "training.head_learning_rate=1e-2",
        "training.dropout=false",
    )
    record = train(tones, config, folder / "run")
    assert record.best_dev_wer < 0.5
    return folder / "run" / "model"
