"""Features are an utterance's own, wherever and beside whatever they are computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import FAMILIES, tiny_base

from tpactl.bases.load import load_base

rng = np.random.default_rng(4)


@pytest.mark.parametrize("family", FAMILIES)
def test_beside_an_accelerator_they_are_what_they_are_on_a_cpu(family, tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base", family)))
    waves = [rng.normal(0, 0.1, n).astype("float32") for n in (16_000, 7_000, 900, 12_345)]
    threads = torch.get_num_threads()
    expected = base.features(waves)
    base.model.to("meta")  # stands for a device that is not the CPU; nothing is computed on it
    found = base.features(waves)
    assert torch.equal(found.inputs, expected.inputs)
    assert torch.equal(found.lengths, expected.lengths)
    assert torch.get_num_threads() == threads
