"""The activation of a feed-forward module whose last hidden units are a bottleneck's.

Elementwise over the widest tensors of a block, so that its time is that of reading and writing
them once: on a CUDA device a Triton kernel does no more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tpactl.bases.fast import kernels

ROWS, COLUMNS = 8, 256
"""Of a kernel's tile."""


def activate(before: Tensor, kept: Tensor | None, width: int) -> Tensor:
    """Return the hidden units.

    Args:
        before: (batch, frames, units).
        kept: (batch, frames, width), the factor of dropout for each of the bottleneck's units.
        width: of the bottleneck; its units are the last ones.
    """
    if kernels.can_run(before.device):
        return _units(before, kept, width)
    after = F.silu(before)
    if kept is not None:
        after[..., -width:] *= kept
    return after


def gradients(
    grad: Tensor, before: Tensor, kept: Tensor | None, width: int
) -> tuple[Tensor, Tensor]:
    """Return the gradient of ``before``, and the bottleneck's units once more.

    Args:
        grad: of the hidden units, (batch, frames, units).
        before: see ``activate``.
        kept: see ``activate``.
        width: see ``activate``.
    """
    if kernels.can_run(before.device):
        return _gradients(grad, before, kept, width)
    # One operation; it computes in float32 whatever the dtype.
    grad_before: Tensor = torch.ops.aten.silu_backward(grad, before)
    own = F.silu(before[..., -width:])
    if kept is not None:
        own = own * kept
        # In place: the products behind it take the whole.
        grad_before[..., -width:] *= kept
    return grad_before, own


def _units(before: Tensor, kept: Tensor | None, width: int) -> Tensor:
    from tpactl.bases.fast import activation_kernel  # it imports Triton

    before = before.contiguous()
    out = torch.empty_like(before)
    tiles, num_rows, columns = _tiles(before)
    given = before if kept is None else kept.contiguous()
    activation_kernel.units[tiles](
        before, given, out, num_rows, columns, width, kept is not None, ROWS, COLUMNS
    )
    return out


def _gradients(
    grad: Tensor, before: Tensor, kept: Tensor | None, width: int
) -> tuple[Tensor, Tensor]:
    from tpactl.bases.fast import activation_kernel

    grad, before = grad.contiguous(), before.contiguous()
    out, own = torch.empty_like(before), before.new_empty(*before.shape[:-1], width)
    tiles, num_rows, columns = _tiles(before)
    given = before if kept is None else kept.contiguous()
    activation_kernel.gradients[tiles](
        grad, before, given, out, own, num_rows, columns, width, kept is not None, ROWS, COLUMNS
    )
    return out, own


def _tiles(before: Tensor) -> tuple[tuple[int, int], int, int]:
    columns = before.shape[-1]
    num_rows = before.numel() // columns
    return (-(-num_rows // ROWS), -(-columns // COLUMNS)), num_rows, columns
