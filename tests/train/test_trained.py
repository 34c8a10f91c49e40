"""What a training switches on in the base, and that it is off again afterwards."""

from __future__ import annotations

import pytest
import torch
from models import tiny_base

from tpactl.bases.load import load_base
from tpactl.formats.adapter import TPASettings
from tpactl.formats.run import RunConfig, TrainingSettings
from tpactl.train.trained import begin


@pytest.fixture
def base(tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base")))
    base.model.config.encoder_config.dropout = 0.5
    base.model.get_submodule("encoder").dropout = 0.5
    return base


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether nothing but the rounding of another kernel lies between them."""
    return torch.allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["tpa", "full"])
@pytest.mark.parametrize("dropout", [True, False])
def test_the_base_drops_units_while_learning_where_that_is_wanted(base, method, dropout):
    config = RunConfig(
        method=method,
        adapter=TPASettings(bottleneck_dim=4, dropout=0.0),
        training=TrainingSettings(dropout=dropout),
    )
    features = base.features([torch.randn(12_000).numpy()])
    untouched, _ = base.logits(features)
    buffers = {name: tensor.clone() for name, tensor in base.model.named_buffers()}

    trained = begin(base, config)
    trained.learning(True)
    learning = [base.logits(features)[0] for _ in range(2)]
    assert same(*learning) is not dropout
    # BatchNorm used what it had learnt, and learnt nothing from these.
    assert all(torch.equal(t, buffers[name]) for name, t in base.model.named_buffers())

    trained.learning(False)
    assert same(base.logits(features)[0], untouched)
    trained.learning(True)
    trained.release()
    assert same(base.logits(features)[0], untouched)
    assert not any(module.training for module in base.model.modules())
