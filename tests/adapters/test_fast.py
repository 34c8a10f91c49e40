"""The fast path gives the logits and the gradients that the hooks give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adapters.cases import CASES as TABLE
from adapters.cases import disturb, logits
from models import tiny_base

from tpactl.adapters.attach import attach
from tpactl.adapters.fast import FastPath, applies
from tpactl.bases.load import load_base
from tpactl.formats.adapter import TPASettings

rng = np.random.default_rng(2)
CASES = [
    ("tpa", TPASettings(bottleneck_dim=5)),
    ("tpa", TPASettings(bottleneck_dim=5, scale="learned", blocks="upper-half")),
    ("tpa", TPASettings(bottleneck_dim=5, scale=4.0, blocks=[0, 2])),
    ("tpa", TPASettings(bottleneck_dim=5, dropout=0.5)),
    ("head", TPASettings()),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_base(str(tiny_base(tmp_path_factory.mktemp("base") / "parakeet")))


@pytest.mark.parametrize(("method", "settings"), CASES)
def test_logits_and_every_gradient_agree_with_the_hooks(base, method, settings):
    adapter = attach(base, method, settings)
    with torch.no_grad():
        for parameter in adapter.parameters():
            if parameter.dim():  # a learned scale is still 1, and must learn all the same
                parameter.add_(torch.randn_like(parameter) * 0.2)
    assert applies(base, adapter)
    features = base.features([rng.normal(size=n).astype("float32") for n in (16_000, 7_000)])
    path = FastPath(base, adapter, max_frames=60)

    adapter.train()

    def gradients(compute):
        torch.manual_seed(0)  # the same units are dropped
        logits, lengths = compute()
        valid = torch.arange(logits.shape[1])[None] < lengths[:, None]
        loss = (logits.log_softmax(-1)[..., 3] * valid).sum()
        return logits[valid], torch.autograd.grad(loss, list(adapter.parameters()))

    expected, expected_grads = gradients(lambda: base.logits(features))
    hidden = path.prefix(features)
    actual, actual_grads = gradients(
        lambda: (path.above(hidden.frames, hidden.lengths), hidden.lengths)
    )
    torch.manual_seed(0)
    whole = path(features.inputs, features.lengths)
    torch.manual_seed(0)
    torch.testing.assert_close(path.above(hidden.frames, hidden.lengths), whole, rtol=0, atol=0)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)
    assert len(actual_grads) == len(list(adapter.parameters()))
    for one, other in zip(actual_grads, expected_grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_it_applies_only_where_it_computes_what_the_hooks_do(base, case):
    """Of the table of methods, whatever it takes on must give the hooks' logits."""
    adapter = attach(base, case.method, case.settings, decoder=case.decoder)
    disturb(adapter)
    features = base.features([rng.normal(size=7_000).astype("float32")])
    taken = applies(base, adapter)
    expected = case.method == "head" or (
        case.method == "tpa" and adapter.settings.sites == ("ffn1", "ffn2") and case.mergeable
    )
    assert taken == expected
    if taken:
        path = FastPath(base, adapter, max_frames=60).eval()
        with torch.inference_mode():
            actual = path(features.inputs, features.lengths)
        torch.testing.assert_close(actual, logits(base, features), atol=1e-5, rtol=1e-4)


def test_it_does_not_apply_where_it_would_compute_something_else(base, tmp_path):
    for settings in (
        TPASettings(bottleneck_dim=4, input="residual"),
        TPASettings(bottleneck_dim=4, activation="relu"),
    ):
        assert not applies(base, attach(base, "tpa", settings))
    norm = f"{base.blocks[2].path}.norm_out"
    assert not applies(base, attach(base, "tpa", TPASettings(), decoder=["head", norm]))
    assert applies(base, attach(base, "tpa", TPASettings(), decoder="none"))
    for family in ("lasr", "parakeet-rnnt", "parakeet-tdt"):
        other = load_base(str(tiny_base(tmp_path / family, family)))
        assert not applies(other, attach(other, "tpa", TPASettings()))
