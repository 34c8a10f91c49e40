"""What is kept of the frozen lower blocks gives the logits of the whole model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models import NUM_BLOCKS, TRANSDUCERS, tiny_base
from tpactl.adapters.attach import attach
from tpactl.adapters.prefix import Hidden, NoPrefixError, Prefix, lowest_block
from tpactl.bases.load import load_base
from tpactl.formats.adapter import BitFitSettings, TPASettings


def trained_on(base, blocks):
    adapter = attach(base, "tpa", TPASettings(bottleneck_dim=4, blocks=blocks))
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
    return adapter


@pytest.mark.parametrize("blocks", [[0, 2], [1], [NUM_BLOCKS - 1]])
@pytest.mark.parametrize("family", ["parakeet", "lasr", *TRANSDUCERS])
def test_the_upper_half_on_what_was_kept_is_the_whole_model(family, blocks, tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base", family)))
    adapter = trained_on(base, blocks)
    prefix = Prefix(base, adapter)
    assert prefix.num_blocks == lowest_block(adapter) == blocks[0]
    noise = np.random.default_rng(0)
    waves = [noise.normal(0, 0.1, n).astype(np.float32) for n in (16_000, 24_321, 9_000)]
    whole, lengths = base.logits(base.features(waves))
    # Each kept alone, then padded with zeros, as a cache gives them back.
    kept = [prefix.compute(base.features([wave])) for wave in waves]
    frames = torch.nn.utils.rnn.pad_sequence([k.frames[0] for k in kept], batch_first=True)
    short, short_lengths = prefix.logits(Hidden(frames, torch.cat([k.lengths for k in kept])))
    assert short_lengths.tolist() == lengths.tolist()
    for one, other, length in zip(whole, short, lengths, strict=True):
        torch.testing.assert_close(one[:length], other[:length], atol=2e-5, rtol=1e-4)
    base.decoder.probe(short).sum().backward()
    assert all(p.grad is not None for p in adapter.parameters())
    again, _ = base.logits(base.features(waves))
    assert torch.equal(again, whole), "the modules that stood aside compute again"


def test_the_lower_half_computes_no_block_of_the_upper(tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base")))
    prefix = Prefix(base, trained_on(base, [1]))
    called = []
    for index, block in enumerate(base.blocks):
        block.module.register_forward_pre_hook(lambda *_, index=index: called.append(index))
    prefix.compute(base.features([np.zeros(16_000, np.float32)]))
    assert called == [0]


@pytest.mark.parametrize("decoder", [["joint"], ["decoder", "encoder_projector"]])
def test_a_transducers_networks_are_above_all_blocks(decoder, tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base", "parakeet-tdt")))
    adapter = attach(base, "head", decoder=decoder)
    assert lowest_block(adapter) == Prefix(base, adapter).num_blocks == NUM_BLOCKS


def test_where_nothing_stays_the_same_is_said(tmp_path):
    base = load_base(str(tiny_base(tmp_path / "parakeet")))
    with pytest.raises(NoPrefixError, match="in front of all blocks"):
        Prefix(base, attach(base, "bitfit", BitFitSettings(front=True)))
    other = load_base(str(tiny_base(tmp_path / "other", "wav2vec2-bert")))
    with pytest.raises(NoPrefixError, match="wav2vec2-bert"):
        Prefix(other, trained_on(other, [1]))
