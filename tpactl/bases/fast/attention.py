"""The weights of relative-position attention, of scores by content and scores by distance.

Between the products that make the scores and the one that uses the weights lie a shift, a sum, a
mask and a softmax. On a CUDA device they are one Triton kernel, and one in the backward pass: a
compiler makes several of them, and where it may not know the number of frames, slow ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tpactl.bases.fast import kernels

LONGEST_HELD = 512
"""Frames up to which all weights are held for the backward pass (41 s of speech)."""

ROWS = 2
"""Queries of a kernel's tile."""


def attend(q: Tensor, k: Tensor, v: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
    """Return what the queries take of the values.

    Args:
        q: (batch, heads, frames, head_dim), scaled.
        k: same shape.
        v: same shape.
        distances: (heads, batch, frames, 2 frames); key ``j`` of query ``i`` reads column
            ``frames - 1 - i + j`` (Dai et al. 2019, appendix B).
        valid: (batch, frames), bool; false where a key is padding.

    Returns:
        Same shape as ``q``; what a padded query takes reaches no valid frame.
    """
    by_hand = q.device.type == "cpu" or torch.compiler.is_compiling()
    if q.shape[2] <= LONGEST_HELD and (by_hand or kernels.can_run(q.device)):
        scores = q @ k.transpose(-1, -2)
        if kernels.can_run(q.device):
            return Weights.apply(scores, distances, valid) @ v
        return weights(scores, distances, valid) @ v
    bias = shift(distances).masked_fill(~valid[:, None, None], torch.finfo(q.dtype).min)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)


def weights(scores: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
    """Return (batch, heads, frames, frames) weights, which sum to 1 over the keys.

    Args:
        scores: of the weights' shape, by content.
        distances: see ``attend``.
        valid: see ``attend``.
    """
    # On a CPU the library's attention also holds the weights, and looks for rows without any.
    total = scores.float() + shift(distances).float()
    total.masked_fill_(~valid[:, None, None], torch.finfo(total.dtype).min)
    return torch.softmax(total, -1).to(scores.dtype)


def shift(distances: Tensor) -> Tensor:
    """Return ``out[b, h, i, j] = distances[h, b, i, T - 1 - i + j]``; (batch, heads, T, T).

    In the flat scores ``out[i, j]`` lies at ``i (2T - 1) + T - 1 + j``, so it is a view of them.
    """
    heads, batch, frames, _ = distances.shape
    flat = distances.reshape(heads, batch, -1)[
        ..., frames - 1 : frames - 1 + frames * (2 * frames - 1)
    ]
    return flat.view(heads, batch, frames, 2 * frames - 1)[..., :frames].transpose(0, 1)


class Weights(torch.autograd.Function):
    """``weights`` by a kernel; the weights themselves are all that the backward pass needs."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
        """Return (batch, heads, frames, frames)."""
        found = _weights(scores, distances, valid)
        ctx.save_for_backward(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``scores`` and ``distances``."""
        of_scores, of_distances = _gradients(gradients[0].contiguous(), *ctx.saved_tensors)
        return of_scores, of_distances, None


@torch.library.custom_op("tpactl::attention_weights", mutates_args=())
def _weights(scores: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
    from tpactl.bases.fast import attention_kernel  # it imports Triton

    batch, heads, frames, _ = scores.shape
    scores, distances, valid = scores.contiguous(), distances.contiguous(), valid.contiguous()
    out = torch.empty_like(scores)
    num_rows = scores.numel() // frames
    attention_kernel.weights[_tiles(num_rows),](
        scores, distances, valid, out, batch, heads, frames, ROWS, _block(frames)
    )
    return out


@_weights.register_fake
def _(scores: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
    return torch.empty_like(scores, memory_format=torch.contiguous_format)


@torch.library.custom_op("tpactl::attention_gradients", mutates_args=())
def _gradients(grad: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    from tpactl.bases.fast import attention_kernel

    batch, heads, frames, _ = grad.shape
    of_scores = torch.empty_like(grad)
    of_distances = grad.new_empty(heads, batch, frames, 2 * frames)
    num_rows = grad.numel() // frames
    attention_kernel.gradients[_tiles(num_rows),](
        grad, weights, of_scores, of_distances, batch, heads, frames, ROWS, _block(frames)
    )
    return of_scores, of_distances


@_gradients.register_fake
def _(grad: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    batch, heads, frames, _ = grad.shape
    return torch.empty_like(grad), grad.new_empty(heads, batch, frames, 2 * frames)


def _tiles(num_rows: int) -> int:
    return -(-num_rows // ROWS)


def _block(frames: int) -> int:
    """Return the power of two that holds a row, as Triton's tiles have it."""
    return max(16, 1 << (frames - 1).bit_length())
