"""A frozen layer norm of a sum, and the sum: what lies between the modules of a block."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpactl.bases.fast import kernels


class AddedNorm(nn.Module):
    """A frozen layer norm; the statistics are taken in float32 whatever the dtype.

    Args:
        reference: its weight and bias are read.
        alpha: factor of what is added.
    """

    def __init__(self, reference: nn.LayerNorm, alpha: float = 1.0) -> None:
        super().__init__()
        self.eps, self.alpha = reference.eps, alpha
        self.register_buffer("weight", reference.weight.detach(), persistent=False)
        self.register_buffer("bias", reference.bias.detach(), persistent=False)
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, hidden: Tensor, added: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``hidden + alpha * added`` and its norm.

        Args:
            hidden: (batch, frames, d_model).
            added: same shape; nothing without it.
        """
        if kernels.can_run(hidden.device):
            total, normed = _AddedNorm.apply(
                hidden, added, self.weight, self.bias, self.alpha, self.eps
            )
            return total, normed
        if added is not None:
            hidden = torch.add(hidden, added, alpha=self.alpha)
        return hidden, F.layer_norm(hidden, hidden.shape[-1:], self.weight, self.bias, self.eps)


class _AddedNorm(torch.autograd.Function):
    """One kernel in each direction; the gradients of sum and norm meet in it."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        added: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        alpha: float,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        from tpactl.bases.fast import norm_kernel  # it imports Triton

        hidden = hidden.contiguous()
        width = hidden.shape[-1]
        total = hidden if added is None else torch.empty_like(hidden)
        normed = torch.empty_like(hidden)
        statistics = hidden.new_empty(2, hidden.numel() // width, dtype=torch.float32)
        norm_kernel.added_norm[statistics.shape[1],](
            hidden,
            hidden if added is None else added.contiguous(),
            weight,
            bias,
            total,
            normed,
            statistics,
            statistics.shape[1],
            width,
            alpha,
            eps,
            added is not None,
            kernels.block(width),
        )
        ctx.save_for_backward(total, statistics, weight)
        ctx.alpha, ctx.has_added = alpha, added is not None
        ctx.set_materialize_grads(False)
        return total, normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        from tpactl.bases.fast import norm_kernel

        of_total, of_normed = gradients
        total, statistics, weight = ctx.saved_tensors
        assert of_normed is not None
        of_normed = of_normed.contiguous()
        out = torch.empty_like(total)
        is_scaled = ctx.has_added and ctx.alpha != 1.0
        scaled = torch.empty_like(total) if is_scaled else out
        norm_kernel.added_norm_gradient[statistics.shape[1],](
            of_normed,
            of_normed if of_total is None else of_total.contiguous(),
            total,
            weight,
            statistics,
            out,
            scaled,
            statistics.shape[1],
            total.shape[-1],
            ctx.alpha,
            of_total is not None,
            is_scaled,
            kernels.block(total.shape[-1]),
        )
        return out, scaled if ctx.has_added else None, None, None, None, None
