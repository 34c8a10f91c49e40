"""A depthwise convolution with frozen weights, faster than the libraries' kernels.

Compiled, it is a sum of shifted products that melts into what is around it, and its gradient a
Triton kernel: a compiler that melts the backward pass by itself computes what lies behind the
convolution again at each of its taps. On a CPU both are sums of shifted products, tap by tap.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS, CHANNELS = 32, 64
"""Of a tile."""


def mix(gated: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """Return the depthwise convolution of ``gated`` as a sum of shifted products.

    Args:
        gated: (batch, frames, channels).
        weight: (channels, kernel size), an odd number of taps.
        shift: (channels,).

    Returns:
        Same shape as ``gated``; zeros are read beyond its ends.
    """
    frames, taps = gated.shape[1], weight.shape[1]
    padded = F.pad(gated, (0, 0, taps // 2, taps // 2))
    out = shift.expand_as(gated)
    for tap in range(taps):
        out = out + padded[:, tap : tap + frames] * weight[:, tap]
    return out


def gate(values: Tensor, valid: Tensor) -> Tensor:
    """Return the first half of the channels, gated by the second, zero on padding.

    Args:
        values: (batch, frames, 2 channels).
        valid: (batch, frames), bool.
    """
    return F.glu(values, -1).masked_fill_(~valid[..., None], 0)


class Mix(torch.autograd.Function):
    """``mix`` with a gradient for ``gated`` alone, and no tensor made for each tap."""

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


class GatedMix(torch.autograd.Function):
    """``mix(gate(values, valid), weight, shift)`` with a gradient for ``values`` alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, valid: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
        """Return (batch, frames, channels)."""
        ctx.save_for_backward(values, valid, weight)
        return mix(gate(values, valid), weight, shift)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of ``values``."""
        return _gradient(gradients[0].contiguous(), *ctx.saved_tensors), None, None, None


@torch.library.custom_op("tpactl::gated_mix_gradient", mutates_args=())
def _gradient(grad: Tensor, values: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
    from tpactl.bases.fast.depthwise_kernel import gated_mix_gradient  # it imports Triton

    batch, frames, channels = grad.shape
    out = torch.empty_like(values)
    tiles = (batch, -(-frames // ROWS), -(-channels // CHANNELS))
    taps = weight.shape[1]
    gated_mix_gradient[tiles](
        grad, values, valid, weight, out, frames, channels, taps, ROWS, CHANNELS
    )
    return out


@_gradient.register_fake
def _(grad: Tensor, values: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(values)
