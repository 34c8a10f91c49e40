"""The gate, depthwise convolution and activation of a convolution module, all frozen.

On a CUDA device the libraries' depthwise kernels are slow: there gate and mask are one Triton
kernel, convolution and activation another, and in the backward pass all but the activation a third.
"""

from __future__ import annotations

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
    return F.silu(by_library(gated, weight, shift))


def by_library(gated: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Return the depthwise convolution of (batch, frames, channels).

    Channels lie beside each other, as in an image of the layout channels-last. In one dimension
    the library knows no such layout, and on a CPU takes eight to sixteen times as long.
    """
    image = gated.transpose(1, 2).unsqueeze(2)
    padding = (0, weight.shape[1] // 2)
    mixed = F.conv2d(image, weight[:, None, None], shift, padding=padding, groups=len(weight))
    return mixed.squeeze(2).transpose(1, 2)


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
