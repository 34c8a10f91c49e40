"""A frozen feed-forward module with a trained bottleneck as further hidden units of it.

``[W2, s Wu] act([W1; Wd] u + [b1; bd]) + b2 + s bu`` in two matrix products instead of four, and in
the backward pass weight gradients for the bottleneck's slice alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpactl.bases.fast import activation


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
    """``linear2(silu(linear1(u)))`` with frozen weights, and room for a bottleneck beside them.

    Args:
        linear_in: the module's first layer.
        linear_out: its second.
        width: of the bottleneck; 0 where the module carries none.
        dropout: of the bottleneck's hidden units, in training mode.
        dtype: of the weights and the activations.
    """

    def __init__(
        self,
        linear_in: nn.Linear,
        linear_out: nn.Linear,
        width: int,
        dropout: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.hidden, self.width, self.dropout = linear_in.out_features, width, dropout
        with torch.no_grad():
            first, second = linear_in.weight.to(dtype), linear_out.weight.to(dtype)
            bias = _bias(linear_in).to(dtype)
            if width:
                first = torch.cat([first, first.new_zeros(width, first.shape[1])])
                second = torch.cat([second, second.new_zeros(len(second), width)], 1)
                bias = torch.cat([bias, bias.new_zeros(width)])
        self.register_buffer("w1", first.detach(), persistent=False)
        self.register_buffer("b1", bias.detach(), persistent=False)
        self.register_buffer("w2", second.detach(), persistent=False)
        self.register_buffer("b2", _bias(linear_out).to(dtype), persistent=False)
        self.w1: Tensor
        self.b1: Tensor
        self.w2: Tensor
        self.b2: Tensor

    def room(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return where ``down``, ``down_bias`` and ``up`` are copied to before each pass."""
        return self.w1[self.hidden :], self.b1[self.hidden :], self.w2[:, self.hidden :]

    def frozen(self) -> tuple[Tensor, Tensor]:
        """Return the weights of both layers within the wider ones."""
        return self.w1[: self.hidden], self.w2[:, : self.hidden]

    def forward(self, hidden: Tensor, bottleneck: Bottleneck | None) -> Tensor:
        """Return the module's output, the bottleneck's correction included.

        Args:
            hidden: (batch, frames, d_model), the normalised input.
            bottleneck: the trained tensors that ``room`` holds, or ``None`` without one.

        Returns:
            Same shape and dtype as ``hidden``.
        """
        if bottleneck is None:
            return F.linear(F.silu(F.linear(hidden, self.w1, self.b1)), self.w2, self.b2)
        kept = None
        if self.dropout and self.training:
            kept = F.dropout(hidden.new_ones(*hidden.shape[:-1], self.width), self.dropout)
        bias = self.b2 + bottleneck.up_bias.to(hidden.dtype)
        own = bottleneck[:3]
        return _Wide.apply(hidden, self.w1, self.b1, self.w2, bias, *own, kept)


class _Wide(torch.autograd.Function):
    """The two products over frozen and trained hidden units side by side.

    Frozen weights get no gradient, so no product is spent on one; the activation's derivative is
    taken from the stored pre-activation. The trained tensors are arguments for their gradients
    alone: their values are in the wide weights already. ``kept`` is the dropout's factor of each
    of the bottleneck's hidden units, (batch, frames, bottleneck_dim).
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        b2: Tensor,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        kept: Tensor | None,
    ) -> Tensor:
        before = F.linear(hidden, w1, b1)
        ctx.save_for_backward(hidden, before, w1, w2, kept)
        ctx.width = len(down)
        return F.linear(activation.activate(before, kept, ctx.width), w2, b2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        hidden, before, w1, w2, kept = ctx.saved_tensors
        width, wants_hidden = ctx.width, ctx.needs_input_grad[0]
        # Below the lowest trained bottleneck nothing needs a gradient: its slice alone is computed.
        grad_after = grad @ (w2 if wants_hidden else w2[:, -width:])
        before = before if wants_hidden else before[..., -width:]
        grad_before, after = activation.gradients(grad_after, before, kept, width)
        own = grad_before[..., -width:]
        own = own.reshape(-1, width)
        flat_grad = grad.reshape(-1, grad.shape[-1])
        return (
            grad_before @ w1 if wants_hidden else None,
            None,
            None,
            None,
            _sum(flat_grad).to(grad.dtype),
            _product(own.t(), hidden.reshape(-1, hidden.shape[-1])),
            _sum(own),
            _product(flat_grad.t(), after.reshape(-1, width)),
            None,
        )


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Return the matrix product in float32; on a GPU it is never rounded to less."""
    if one.is_cuda and one.dtype != torch.float32:
        return torch.mm(one, other, out_dtype=torch.float32)
    return (one @ other).float()


def _sum(rows: Tensor) -> Tensor:
    """Return the sum of many rows in float32."""
    if rows.is_cuda:
        # As a product it takes half as long as the library's sum over the first dimension.
        return _product(rows.new_ones(1, len(rows)), rows)[0]
    return rows.sum(0, dtype=torch.float32)


def _bias(layer: nn.Linear) -> Tensor:
    if layer.bias is None:
        return layer.weight.detach().new_zeros(layer.out_features)
    return layer.bias.detach()
