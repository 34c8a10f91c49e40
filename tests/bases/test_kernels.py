"""The kernels of the rewritten blocks compute what plain operations do, and its gradients."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from interpreted import interpret

from tpactl.bases.fast import activation, kernels
from tpactl.bases.fast.attention import Positions, attend
from tpactl.bases.fast.depthwise import convolve
from tpactl.bases.fast.norm import AddedNorm
from tpactl.bases.fast.subsampling import FastSubsampling
from tpactl.bases.quiet import quiet

quiet()


def agrees(module, *inputs, device: str = "cpu") -> None:
    """Hold what ``module`` computes by kernels against what it computes without; gradients too."""
    on_device = [x.to(device) if isinstance(x, torch.Tensor) else x for x in inputs]

    def run(by_kernels: bool):
        with mock.patch.object(kernels, "can_run", return_value=by_kernels):
            given = [
                x.clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x
                for x in on_device
            ]
            out = module(*given)
            outs = [out] if isinstance(out, torch.Tensor) else [x for x in out if x is not None]
            leaves = [x for x in given if isinstance(x, torch.Tensor) and x.requires_grad]
            # Every output counts, each number of it differently.
            loss = sum(
                (x * torch.arange(x.numel(), device=device).view_as(x).sin()).sum() for x in outs
            )
            return outs, torch.autograd.grad(loss, leaves) if leaves else ()

    for one, other in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5 if device == "cpu" else 5e-4, rtol=1e-4)


def some(*shape: int, grad: bool = False) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=grad)


def valid_frames(*lengths: int) -> torch.Tensor:
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def compare_activations() -> None:
    class Units(torch.autograd.Function):
        @staticmethod
        def forward(ctx, before, kept, width):
            ctx.save_for_backward(before, kept)
            ctx.width = width
            return activation.activate(before, kept, width)

        @staticmethod
        def backward(ctx, grad):
            before, kept = ctx.saved_tensors
            out, own = activation.gradients(grad, before, kept, ctx.width)
            wanted = torch.nn.functional.silu(before[..., -ctx.width :])
            torch.testing.assert_close(own, wanted if kept is None else wanted * kept)
            return out, None, None

    for shape, width in (((2, 13, 300), 20), ((1, 8, 16), 16)):
        for kept in (None, F.dropout(torch.ones(*shape[:-1], width), 0.3)):
            agrees(Units.apply, some(*shape, grad=True), kept, width)


def compare_norms(device: str = "cpu") -> None:
    for width, alpha in ((40, 1.0), (33, 0.5)):
        reference = torch.nn.LayerNorm(width)
        torch.nn.init.normal_(reference.weight)
        norm = AddedNorm(reference, alpha).to(device)
        hidden, added = some(2, 5, width, grad=True), some(2, 5, width, grad=True)
        agrees(norm, hidden, device=device)
        agrees(norm, hidden, added, device=device)
        agrees(lambda *given, norm=norm: norm(*given)[1], hidden, added, device=device)


def compare_attention(device: str = "cpu", sizes=((9, 3, 8), (24, 2, 16), (70, 1, 20))) -> None:
    for frames, heads, head_dim in sizes:
        relative = some(heads, head_dim, 2 * frames + 6)[..., 3 : 2 * frames + 3]
        biases = (some(heads, 1, head_dim), some(heads, 1, head_dim))
        positions = Positions(*(x.to(device) for x in (*biases, relative)), 0.3)
        qkv = some(3, frames, 3, heads, head_dim, grad=True)
        agrees(attend, qkv, valid_frames(frames, frames // 2, 1), positions, device=device)


def compare_convolutions(device: str = "cpu", frames: int = 45, channels: int = 70) -> None:
    values = some(3, frames, 2 * channels, grad=True)
    given = (values, valid_frames(frames, 30, 1), some(channels, 9), some(channels))
    agrees(convolve, *given, device=device)


def compare_subsampling(device: str = "cpu") -> None:
    from transformers import ParakeetEncoderConfig
    from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderSubsamplingConv2D

    for factor, channels in ((4, 12), (8, 70)):
        config = ParakeetEncoderConfig(
            hidden_size=32,
            subsampling_factor=factor,
            num_mel_bins=80,
            subsampling_conv_channels=channels,
        )
        reference = ParakeetEncoderSubsamplingConv2D(config).to(device)
        own = FastSubsampling(reference, torch.float32)
        with torch.no_grad():
            for frames in (83, 64):
                given = (some(3, frames, 80), valid_frames(frames, 41, 1))
                agrees(own, *(x.clone() for x in given), device=device)


def compare_blocks() -> None:
    """The whole block, with and without bottlenecks, in float32 and bfloat16."""
    from models import tiny_base

    from tests.bases.test_fast import test_outputs_and_gradients_are_the_reference_blocks as compare

    with TemporaryDirectory() as place, mock.patch.object(kernels, "can_run", return_value=True):
        folder = tiny_base(Path(place) / "parakeet")
        for dtype in (torch.float32, torch.bfloat16):
            for with_adapter in (False, True):
                compare(folder, dtype, with_adapter)


COMPARISONS = ["activations", "norms", "attention", "convolutions", "subsampling", "blocks"]


@pytest.mark.parametrize("what", COMPARISONS)
def test_the_kernels_compute_what_they_stand_for_and_its_gradients(what):
    interpret(
        "import torch\nfrom tests.bases import test_kernels\ntorch.manual_seed(0)\n"
        f"test_kernels.compare_{what}()"
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_the_kernels_compute_what_they_stand_for(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    compare_norms("cuda")
    compare_attention("cuda", ((8, 4, 64), (136, 8, 128), (250, 2, 64), (512, 1, 32)))
    compare_convolutions("cuda", 250, 512)
    compare_subsampling("cuda")


def test_the_probe_writes_what_is_asked_of_it():
    interpret(
        "import torch\nfrom tpactl.bases.fast import probe_kernel\nnumber = torch.zeros(1)\n"
        "probe_kernel.one[1,](number)\nassert number.item() == 1"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_no_kernel_runs_and_it_says_why():
    assert kernels.why_not()
    assert not kernels.can_run(torch.device("cuda"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_kernels_run():
    assert not kernels.why_not()
