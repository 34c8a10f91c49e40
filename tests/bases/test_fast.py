"""The rewritten block computes what the reference block does: outputs, gradients, any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from interpreted import interpret
from models import tiny_base

from tpactl.adapters.attach import activate, attach
from tpactl.bases.fast import activation, kernels
from tpactl.bases.fast.attention import Weights, attend, shift, weights
from tpactl.bases.fast.depthwise import GatedMix, Mix, gate, mix
from tpactl.bases.fast.feed_forward import Bottleneck
from tpactl.bases.fast.parakeet import FastParakeetBlock
from tpactl.bases.fast.subsampling import FastSubsampling
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


def test_the_shifted_products_are_the_librarys_convolution(folder):
    base = load_base(str(folder))
    positions = base.model.encoder.encode_positions(torch.zeros(1, 8, 1))
    convolution = FastParakeetBlock(base.blocks[2], 8, positions, 0, 0.0, torch.float32).convolution
    gated = torch.randn(2, 9, 16)
    gated.requires_grad_(True)
    grad = torch.randn(2, 9, 16)
    expected = convolution._library(gated)
    (expected_grad,) = torch.autograd.grad(expected, gated, grad)
    for other in (mix, Mix.apply):
        found = other(gated, convolution.weight, convolution.shift)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        (found_grad,) = torch.autograd.grad(found, gated, grad)
        torch.testing.assert_close(found_grad, expected_grad, atol=1e-6, rtol=0)


KERNEL = """
import torch
from tpactl.bases.fast.depthwise import GatedMix, gate, mix

torch.manual_seed(0)
values = torch.randn(2, 45, 140, requires_grad=True)
valid = torch.arange(45)[None] < torch.tensor([45, 30])[:, None]
weight, shift, grad = torch.randn(70, 9), torch.randn(70), torch.randn(2, 45, 70)
(expected,) = torch.autograd.grad(mix(gate(values, valid), weight, shift), values, grad)


def once(values):
    return GatedMix.apply(values, valid, weight, shift)


for forward in (once, torch.compile(once, backend="aot_eager", dynamic=True)):
    (found,) = torch.autograd.grad(forward(values), values, grad)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
"""


def test_the_gradient_of_the_depthwise_kernel_is_autograds():
    interpret(KERNEL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_kernel_gives_the_gradient_of_autograd():
    values = torch.randn(3, 250, 512, device="cuda", requires_grad=True)
    valid = torch.arange(250, device="cuda")[None] < torch.tensor([[250], [99], [1]], device="cuda")
    weight, shift = torch.randn(256, 9, device="cuda"), torch.randn(256, device="cuda")
    grad = torch.randn(3, 250, 256, device="cuda")
    (expected,) = torch.autograd.grad(mix(gate(values, valid), weight, shift), values, grad)
    (found,) = torch.autograd.grad(GatedMix.apply(values, valid, weight, shift), values, grad)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_attention_by_hand_is_the_librarys():
    q, k, v = (torch.randn(2, 3, 9, 4) for _ in range(3))
    distances, valid = torch.randn(3, 2, 9, 18), torch.arange(9)[None] < torch.tensor([[9], [7]])
    bias = shift(distances).masked_fill(~valid[:, None, None], torch.finfo().min)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    torch.testing.assert_close(attend(q, k, v, distances, valid), expected)


def test_each_key_reads_the_score_of_its_distance():
    distances = torch.arange(2 * 5.0).expand(1, 1, 5, 10)
    expected = [[4 - i + j for j in range(5)] for i in range(5)]
    assert shift(distances)[0, 0].tolist() == expected


ACTIVATION_KERNEL = """
from unittest import mock

import torch
from tpactl.bases.fast import activation, kernels

torch.manual_seed(0)
for shape, width in (((2, 13, 300), 20), ((1, 8, 16), 16)):
    grad, before = torch.randn(shape), torch.randn(shape)
    dropped = torch.nn.functional.dropout(torch.ones(*shape[:-1], width), 0.3)
    for kept in (None, dropped):
        units = activation.activate(before, kept, width)
        wanted = activation.gradients(grad, before, kept, width)
        with mock.patch.object(kernels, "can_run", lambda device: True):
            torch.testing.assert_close(activation.activate(before, kept, width), units)
            found = activation.gradients(grad, before, kept, width)
            torch.testing.assert_close(found, wanted)
            compiled = torch.compile(activation.gradients, backend="aot_eager", dynamic=True)
            torch.testing.assert_close(compiled(grad, before, kept, width), wanted)
"""


def test_the_kernels_of_the_activation_compute_what_the_library_does():
    interpret(ACTIVATION_KERNEL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("drops", [False, True])
def test_on_a_gpu_the_kernels_give_the_activation_and_its_gradients(drops, monkeypatch):
    grad, before = torch.randn(2, 3, 99, 4352, device="cuda")
    kept = F.dropout(torch.ones(3, 99, 256, device="cuda"), 0.1) if drops else None
    units = activation.activate(before, kept, 256)
    found = activation.gradients(grad, before, kept, 256)
    monkeypatch.setattr(kernels, "HAS_TRITON", False)
    torch.testing.assert_close(units, activation.activate(before, kept, 256))
    wanted = activation.gradients(grad, before, kept, 256)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


ATTENTION_KERNEL = """
import torch
from tpactl.bases.fast import activation, kernels
from tpactl.bases.fast.attention import Weights, weights

torch.manual_seed(0)
for frames, heads in ((9, 3), (24, 2), (70, 1)):
    scores = torch.randn(2, heads, frames, frames, requires_grad=True)
    distances = torch.randn(heads, 2, frames, 2 * frames, requires_grad=True)
    valid = torch.arange(frames)[None] < torch.tensor([frames - 3, 1])[:, None]
    grad = torch.randn(2, heads, frames, frames)
    expected = weights(scores, distances, valid)
    wanted = torch.autograd.grad(expected, [scores, distances], grad)
    compiled = torch.compile(Weights.apply, backend="aot_eager", dynamic=True)
    for forward in (Weights.apply, compiled):
        found = forward(scores, distances, valid)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, [scores, distances], grad), wanted)
"""


def test_the_kernel_of_the_attention_weights_computes_what_they_are_and_their_gradients():
    interpret(ATTENTION_KERNEL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("frames", [8, 136, 250, 512])
def test_on_a_gpu_the_kernel_gives_the_attention_weights_and_their_gradients(frames):
    scores = torch.randn(3, 4, frames, frames, device="cuda", requires_grad=True)
    distances = torch.randn(4, 3, frames, 2 * frames, device="cuda", requires_grad=True)
    lengths = torch.tensor([[frames], [frames // 3], [1]], device="cuda")
    valid = torch.arange(frames, device="cuda")[None] < lengths
    grad = torch.randn_like(scores)
    expected, found = (f(scores, distances, valid) for f in (weights, Weights.apply))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    wanted, gradients = (
        torch.autograd.grad(out, [scores, distances], grad) for out in (expected, found)
    )
    torch.testing.assert_close(gradients, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("factor", [4, 8])
def test_the_compiled_subsampling_is_the_references(factor):
    from transformers import ParakeetEncoderConfig
    from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderSubsamplingConv2D

    config = ParakeetEncoderConfig(
        hidden_size=32, subsampling_factor=factor, num_mel_bins=80, subsampling_conv_channels=12
    )
    torch.manual_seed(0)
    reference = ParakeetEncoderSubsamplingConv2D(config)
    own = FastSubsampling(reference, torch.float32)
    compiled = torch.compile(own.forward, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for frames in (203, 64):
            features = torch.randn(3, frames, 80)
            valid = torch.arange(frames)[None] < torch.tensor([[frames], [41], [1]])
            expected = reference(features, valid)
            assert torch.equal(own(features, valid), expected)
            torch.testing.assert_close(compiled(features, valid), expected, atol=1e-5, rtol=1e-4)


def test_the_compiled_block_computes_the_same(folder):
    base = load_base(str(folder))
    positions = base.model.encoder.encode_positions(torch.zeros(1, 24, 1))
    hidden = torch.randn(2, 16, base.d_model, generator=torch.Generator().manual_seed(1))
    valid = torch.arange(16)[None] < torch.tensor([16, 9])[:, None]
    fast = FastParakeetBlock(base.blocks[0], 24, positions, 0, 0.0, torch.float32)
    expected = fast(hidden, valid)
    compiled = torch.compile(fast, backend="aot_eager")(hidden, valid)
    torch.testing.assert_close(compiled[valid], expected[valid], atol=1e-5, rtol=1e-4)


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
