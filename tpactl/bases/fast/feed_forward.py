"""A frozen feed-forward module with a trained bottleneck as further hidden units of it.

``[W2, s Wu] act([W1; Wd] u + [b1; bd]) + b2 + s bu`` in two matrix products instead of four, and in
the backward pass weight gradients for the bottleneck's slice alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(NamedTuple):
    """A bottleneck's trained tensors, float32; the scale is part of ``up`` already."""

    down: Tensor
    """(bottleneck_dim, d_model)."""
    down_bias: Tensor
    """(bottleneck_dim,)."""
    up: Tensor
    """(d_model, bottleneck_dim)."""
    up_bias: Tensor
    """(d_model,)."""


class FrozenFeedForward(nn.Module):
    """``linear2(silu(linear1(u)))`` with frozen weights, and room for a bottleneck.

    Args:
        linear_in: the module's first layer.
        linear_out: its second.
    """

    def __init__(self, linear_in: nn.Linear, linear_out: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("w1", linear_in.weight.detach(), persistent=False)
        self.register_buffer("b1", _bias(linear_in), persistent=False)
        self.register_buffer("w2", linear_out.weight.detach(), persistent=False)
        self.register_buffer("b2", _bias(linear_out), persistent=False)
        self.w1: Tensor
        self.b1: Tensor
        self.w2: Tensor
        self.b2: Tensor

    def forward(self, hidden: Tensor, bottleneck: Bottleneck | None) -> Tensor:
        """Return the module's output, the bottleneck's correction included.

        Args:
            hidden: (batch, frames, d_model), the normalised input.
            bottleneck: the trained tensors, or ``None`` where the block carries none.

        Returns:
            Same shape and dtype as ``hidden``.
        """
        if bottleneck is None:
            return F.linear(F.silu(F.linear(hidden, self.w1, self.b1)), self.w2, self.b2)
        out = _Wide.apply(
            hidden, self.w1, self.b1, self.w2, bottleneck.down, bottleneck.down_bias, bottleneck.up
        )
        return out + (self.b2 + bottleneck.up_bias.to(hidden.dtype))


class _Wide(torch.autograd.Function):
    """The two products over frozen and trained hidden units side by side.

    Frozen weights get no gradient, so no product is spent on one; the activation's derivative is
    taken from the stored pre-activation.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
    ) -> Tensor:
        dtype = hidden.dtype
        wide_in = torch.cat([w1, down.to(dtype)])
        wide_out = torch.cat([w2, up.to(dtype)], 1)
        before = F.linear(hidden, wide_in, torch.cat([b1, down_bias.to(dtype)]))
        ctx.save_for_backward(hidden, before, wide_in, wide_out)
        ctx.width = len(down)
        return F.linear(F.silu(before), wide_out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        hidden, before, wide_in, wide_out = ctx.saved_tensors
        width = ctx.width
        # In float32, as autograd's own silu computes it, then back for the products.
        x = before.float()
        gate = torch.sigmoid(x)
        slope = gate * (1 + x * (1 - gate))
        grad_before = ((grad @ wide_out).float() * slope).to(grad.dtype)
        grad_hidden = grad_before @ wide_in
        own = grad_before[..., -width:].reshape(-1, width)
        after = F.silu(before[..., -width:]).reshape(-1, width)
        flat_grad = grad.reshape(-1, grad.shape[-1])
        return (
            grad_hidden,
            None,
            None,
            None,
            (own.t() @ hidden.reshape(-1, hidden.shape[-1])).float(),
            own.sum(0, dtype=torch.float32),
            (flat_grad.t() @ after).float(),
        )


def _bias(layer: nn.Linear) -> Tensor:
    if layer.bias is None:
        return layer.weight.detach().new_zeros(layer.out_features)
    return layer.bias.detach()
