"""The gate, depthwise convolution and activation of a convolution module, all frozen.

On a CUDA device the libraries' depthwise kernels are slow: there gate and mask are one Triton
kernel, convolution and activation another, and in the backward pass all but the activation a third.
On a CPU the convolution is that of an image on x86, and a sum of shifted products elsewhere.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tpactl.bases.fast import kernels

ROWS, CHANNELS = 32, 64
"""Of a kernel's tile."""


def convolve(values: Tensor, valid: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Return the activated depthwise convolution of what the gate lets through.

    Args:
        values: (batch, frames, 2 channels); the second half gates the first.
        valid: (batch, frames), bool; false frames are zero behind the gate.
        weight: (channels, kernel size), an odd number of taps.
        shift: (channels,).

    Returns:
        (batch, frames, channels); zeros are read beyond the ends.
    """
    if kernels.can_run(values.device):
        out: Tensor = _GatedConvolution.apply(values, valid, weight, shift)
        return out
    gated = F.glu(values, -1).masked_fill_(~valid[..., None], 0)
    if values.device.type != "cpu":
        mixed = by_library(gated, weight, shift)
    elif _has_image_kernels():
        mixed = as_image(gated, weight, shift)
    else:
        mixed = Mix.apply(gated, weight, shift)
    return F.silu(mixed)


def by_library(gated: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Return the depthwise convolution of (batch, frames, channels)."""
    return F.conv1d(
        gated.transpose(1, 2),
        weight[:, None],
        shift,
        padding=weight.shape[1] // 2,
        groups=len(weight),
    ).transpose(1, 2)


def as_image(gated: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Return the same by the library's convolution in two dimensions.

    Channels that lie beside each other are a layout of images, channels-last, for which oneDNN has
    kernels on x86; of one dimension it takes eight to sixteen times as long.
    """
    image = gated.transpose(1, 2).unsqueeze(2)
    padding = (0, weight.shape[1] // 2)
    mixed = F.conv2d(image, weight[:, None, None], shift, padding=padding, groups=len(weight))
    return mixed.squeeze(2).transpose(1, 2)


@cache
def _has_image_kernels() -> bool:
    return platform.machine() in {"x86_64", "AMD64"} and torch.backends.mkldnn.is_available()


class Mix(torch.autograd.Function):
    """The same as a sum of shifted products, tap by tap, for CPUs where the library is slow.

    Its gradient is for ``gated`` alone, and no tensor is made for each tap.
    """

    @staticmethod
    def forward(ctx: Any, gated: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
        """Return (batch, frames, channels)."""
        ctx.save_for_backward(weight)
        return _add_taps(shift.expand_as(gated).clone(), gated, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of ``gated``: the same convolution, its taps turned round."""
        (grad,) = gradients
        (weight,) = ctx.saved_tensors
        return _add_taps(None, grad, weight.flip(1)), None, None


def _add_taps(total: Tensor | None, values: Tensor, weight: Tensor) -> Tensor:
    frames, taps = values.shape[1], weight.shape[1]
    padded = F.pad(values, (0, 0, taps // 2, taps // 2))
    for tap, factor in enumerate(weight.t().contiguous()):
        shifted = padded[:, tap : tap + frames]
        total = shifted * factor if total is None else total.addcmul_(shifted, factor)
    assert total is not None
    return total


class _GatedConvolution(torch.autograd.Function):
    """``convolve`` by kernels, with a gradient for ``values`` alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, valid: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
        from tpactl.bases.fast import depthwise_kernel  # it imports Triton

        values, valid = values.contiguous(), valid.contiguous()
        batch, frames, channels = *values.shape[:2], len(weight)
        gated, mixed = values.new_empty(2, batch, frames, channels)
        depthwise_kernel.gate[batch * frames,](
            values, valid, gated, channels, kernels.block(channels)
        )
        out = torch.empty_like(gated)
        depthwise_kernel.convolution[_tiles(out)](
            gated, weight, shift, out, mixed, frames, channels, weight.shape[1], ROWS, CHANNELS
        )
        ctx.save_for_backward(values, valid, weight, mixed)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from tpactl.bases.fast import depthwise_kernel

        values, valid, weight, mixed = ctx.saved_tensors
        grad = torch.ops.aten.silu_backward(gradients[0].contiguous(), mixed)
        _, frames, channels = grad.shape
        out = torch.empty_like(values)
        depthwise_kernel.gated_mix_gradient[_tiles(grad)](
            grad, values, valid, weight, out, frames, channels, weight.shape[1], ROWS, CHANNELS
        )
        return out, None, None, None


def _tiles(grad: Tensor) -> tuple[int, int, int]:
    batch, frames, channels = grad.shape
    return batch, -(-frames // ROWS), -(-channels // CHANNELS)
