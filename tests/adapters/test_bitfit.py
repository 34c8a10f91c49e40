"""BitFit: trained biases take the base's place only while a module computes."""

from __future__ import annotations

import pytest
import torch
from adapters.cases import disturb, logits

from tpactl.adapters.attach import activate, attach
from tpactl.formats.adapter import BitFitSettings


def test_every_bias_of_the_base_is_trained_and_nothing_else(base):
    adapter = attach(base, "bitfit", decoder="none")
    trained = set(adapter.tensors())
    biases = {name for name, _ in base.model.named_parameters() if "bias" in name.split(".")[-1]}
    # Wav2Vec2-Conformer owns a convolution that relative positions leave unused.
    unused = {"wav2vec2_conformer.encoder.pos_conv_embed.conv.bias"}
    # torch computes a recurrent layer from a list of its own, where nothing can be exchanged.
    recurrent = {name for name in biases if name.startswith("decoder.lstm.")}
    assert trained == biases - unused - recurrent
    assert len(trained) > 3


def test_blocks_and_front_choose_among_them(parakeet):
    block = f"{parakeet.blocks[1].path}."
    inside = attach(parakeet, "bitfit", BitFitSettings(blocks=[1], front=False), decoder="none")
    assert inside.tensors()
    assert all(name.startswith(block) for name in inside.tensors())
    front = attach(parakeet, "bitfit", BitFitSettings(blocks=[1]), decoder="none").tensors()
    assert any(name.startswith("encoder.subsampling.") for name in front)
    assert not any(name.startswith(f"{parakeet.blocks[0].path}.") for name in front)


def test_the_base_gets_its_biases_back_when_a_module_raises(parakeet, features):
    before = dict(parakeet.model.named_parameters())
    alone = logits(parakeet, features)
    disturb(attach(parakeet, "bitfit"))
    linear = parakeet.blocks[0].ffn1.linear_in
    with pytest.raises(RuntimeError):
        linear(torch.zeros(1, 7))
    assert all(p is before[name] for name, p in parakeet.model.named_parameters())
    activate(parakeet, None)
    assert torch.equal(logits(parakeet, features), alone)
