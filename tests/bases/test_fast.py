"""The rewritten block computes what the reference block does: outputs, gradients, any length."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from models import tiny_base

from tpactl.adapters.attach import activate, attach
from tpactl.bases.fast import attention
from tpactl.bases.fast.attention import Positions, attend, shift
from tpactl.bases.fast.depthwise import Mix, as_image, by_library
from tpactl.bases.fast.feed_forward import Bottleneck
from tpactl.bases.fast.parakeet import FastParakeetBlock
from tpactl.bases.load import load_base
from tpactl.formats.adapter import TPASettings

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 1.5e-2}
"""Relative, of the norm of the difference."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_base(tmp_path_factory.mktemp("base") / "parakeet")


def bottleneck_of(module):
    return Bottleneck(
        module.down.weight,
        module.down.bias,
        module.up.weight * module.scale,
        module.up.bias * module.scale,
    )


def relative(actual, expected):
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("with_adapter", [True, False])
def test_outputs_and_gradients_are_the_reference_blocks(folder, dtype, with_adapter):
    base = load_base(str(folder), dtype=dtype)
    adapter = attach(base, "tpa", TPASettings(bottleneck_dim=6, scale=2.0), seed=3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    if not with_adapter:
        activate(base, None)
    encoder = base.model.encoder
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(3, 21, base.d_model, generator=generator).to(dtype)
    valid = torch.arange(21)[None] < torch.tensor([21, 13, 5])[:, None]
    mask = (valid[:, None] & valid[:, :, None])[:, None]
    block = base.blocks[1]
    positions = encoder.encode_positions(hidden.new_zeros(1, 32, 1))
    fast = FastParakeetBlock(block, 32, positions, 6 if with_adapter else 0, 0.0, dtype)
    first, second = list(adapter.sites())[2][1], list(adapter.sites())[3][1]

    def run(compute):
        leaf = hidden.clone().requires_grad_(True)
        out = compute(leaf)
        weights = torch.sin(torch.arange(out.numel()).reshape(out.shape) * 0.7).to(dtype)
        trained = [*first.parameters(), *second.parameters()] if with_adapter else []
        loss = ((out * weights) * valid[..., None]).float().sum()
        return out, torch.autograd.grad(loss, [leaf, *trained])

    positions = encoder.encode_positions(hidden)
    expected, expected_grads = run(
        lambda x: block.module(x, attention_mask=mask, position_embeddings=positions)
    )
    pair = (bottleneck_of(first), bottleneck_of(second)) if with_adapter else (None, None)
    for module, own in zip((fast.feed_forward1, fast.feed_forward2), pair, strict=True):
        if own is not None:
            with torch.no_grad():
                torch._foreach_copy_(module.room(), [own.down, own.down_bias, own.up])
    actual, actual_grads = run(lambda x: fast(x, valid, *pair))
    assert relative(actual[valid], expected[valid]) < TOLERANCE[dtype]
    assert len(actual_grads) == (9 if with_adapter else 1)
    for index, (one, other) in enumerate(zip(actual_grads, expected_grads, strict=True)):
        assert one.dtype == other.dtype
        assert relative(one, other) < TOLERANCE[dtype] * 3, index


def test_padding_reaches_no_valid_frame(folder):
    base = load_base(str(folder))
    positions = base.model.encoder.encode_positions(torch.zeros(1, 40, 1))
    fast = FastParakeetBlock(base.blocks[0], 40, positions, 0, 0.0, torch.float32)
    hidden = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 30, 16))).float()
    alone = fast(hidden[:, :17], torch.ones(1, 17, dtype=torch.bool))
    padded = fast(hidden, torch.arange(30)[None] < 17)
    torch.testing.assert_close(padded[:, :17], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("found_by", [as_image, Mix.apply], ids=["as an image", "by taps"])
def test_the_depthwise_convolution_is_the_librarys(found_by):
    gated, grad = torch.randn(2, 2, 9, 16)
    gated.requires_grad_(True)
    weight, bias = torch.randn(16, 9), torch.randn(16)
    expected = by_library(gated, weight, bias)
    (expected_grad,) = torch.autograd.grad(expected, gated, grad)
    found = found_by(gated, weight, bias)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (found_grad,) = torch.autograd.grad(found, gated, grad)
    torch.testing.assert_close(found_grad, expected_grad, atol=1e-5, rtol=1e-5)


def test_attention_by_hand_is_the_librarys():
    positions = Positions(*torch.randn(2, 3, 1, 4), torch.randn(3, 4, 18), 0.3)
    qkv, valid = torch.randn(2, 9, 3, 3, 4), torch.arange(9)[None] < torch.tensor([[9], [7]])
    qkv.requires_grad_(True)
    grad = torch.randn(2, 9, 12)

    def computed():
        out = attend(qkv, valid, positions)
        return out, *torch.autograd.grad(out, qkv, grad)

    by_hand = computed()
    with mock.patch.object(attention, "LONGEST_HELD", 1):
        torch.testing.assert_close(by_hand, computed())


def test_each_key_reads_the_score_of_its_distance():
    distances = torch.arange(2 * 5.0).expand(1, 1, 5, 10)
    expected = [[4 - i + j for j in range(5)] for i in range(5)]
    assert shift(distances)[0, 0].tolist() == expected


def test_lent_weights_are_held_once_and_compute_the_same(folder):
    base = load_base(str(folder), dtype=torch.bfloat16)
    features = base.features([np.zeros(9_000, np.float32), np.ones(16_000, np.float32)])
    before, _ = base.logits(features)
    positions = base.model.encoder.encode_positions(torch.zeros(1, 8, 1))
    block = base.blocks[1]
    fast = FastParakeetBlock(block, 8, positions, 4, 0.0, torch.bfloat16)
    fast.lend(block)
    storage = fast.feed_forward2.w2.untyped_storage().data_ptr()
    assert block.ffn2.linear_out.weight.untyped_storage().data_ptr() == storage
    after, _ = base.logits(features)
    torch.testing.assert_close(after, before, atol=0, rtol=0)
