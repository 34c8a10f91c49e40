"""Features are an utterance's own, wherever and beside whatever they are computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import FAMILIES, tiny_base

from tpactl.bases.load import load_base
from tpactl.bases.on_device import extractor_on

rng = np.random.default_rng(4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_extracted_together_is_that_of_its_utterances(family, tmp_path, monkeypatch):
    base = load_base(str(tiny_base(tmp_path / "base", family)))
    waves = [rng.normal(0, 0.1, n).astype("float32") for n in (16_000, 7_000, 900, 12_345)]
    expected = base.features(waves)
    # The CPU stands for the device: whatever is padded is moved there.
    there = extractor_on(torch.device("cpu"), base.feature_extractor)
    assert (there is None) == family.startswith("wav2vec2")
    monkeypatch.setitem(base.__dict__, "_extractor_there", there)
    found = base.features(waves)
    assert torch.equal(found.lengths, expected.lengths)
    torch.testing.assert_close(found.inputs, expected.inputs, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_they_are_those_of_the_cpu_up_to_rounding():
    waves = [rng.normal(0, 0.1, n).astype("float32") for n in (160_000, 7_000, 12_345)]
    expected = load_base("starter").features(waves)
    found = load_base("starter", device="cuda").features(waves)
    assert found.inputs.device.type == "cuda"
    assert torch.equal(found.lengths, expected.lengths)
    torch.testing.assert_close(found.inputs.cpu(), expected.inputs, atol=1e-3, rtol=1e-3)
