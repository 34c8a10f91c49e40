"""Relative-position attention (Dai et al. 2019, sec. 3.3) with everything but the input frozen.

Between its products lie a split by heads, and between scores and weights a shift, a sum, a mask
and a softmax. On a CUDA device each is one Triton kernel, and one in the backward pass; on a CPU
the backward pass is written out, because the library's makes a tensor for each view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tpactl.bases.fast import kernels

LONGEST_HELD = 512
"""Frames up to which all weights are held for the backward pass (41 s of speech)."""

ROWS = 2
"""Queries of a tile of the weights."""

TOKENS = 32
"""Of a tile of one head."""


@dataclass(frozen=True)
class Positions:
    """What attention by distance reads beside the queries; all frozen."""

    bias_u: Tensor
    """(heads, 1, head_dim), added to the queries for scores by content."""
    bias_v: Tensor
    """Same shape, for scores by distance."""
    relative: Tensor
    """(heads, head_dim, 2 frames), the projected encodings; column ``frames - 1 - i + j`` is the
    distance of key ``j`` from query ``i`` (appendix B)."""
    scale: float


def attend(qkv: Tensor, valid: Tensor, positions: Positions) -> Tensor:
    """Return what the queries take of the values, (batch, frames, d_model).

    What a padded query takes reaches no valid frame.

    Args:
        qkv: (batch, frames, 3, heads, head_dim), queries, keys and values.
        valid: (batch, frames), bool; false where a key is padding.
        positions: of as many frames.
    """
    batch, frames = qkv.shape[:2]
    is_computed_here = qkv.device.type == "cpu" or kernels.can_run(qkv.device)
    if frames <= LONGEST_HELD and is_computed_here:
        # The library's attention also holds the weights, and looks for rows without any.
        held: Tensor = _Attention.apply(qkv, valid, positions)
        return held
    near, far, k, v = _parts(qkv, positions)
    bias = shift(_by_distance(far, positions.relative))
    bias = bias.masked_fill(~valid[:, None, None], torch.finfo(near.dtype).min)
    out = F.scaled_dot_product_attention(near, k, v, attn_mask=bias, scale=1.0)
    return out.transpose(1, 2).reshape(batch, frames, -1)


def weights(scores: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
    """Return (batch, heads, frames, frames) weights, which sum to 1 over the keys.

    Args:
        scores: of the weights' shape, by content.
        distances: (heads, batch, frames, 2 frames), by distance.
        valid: see ``attend``.
    """
    if kernels.can_run(scores.device):
        return _weights_by_kernel(scores, distances, valid)
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


class _Attention(torch.autograd.Function):
    """``attend`` with all weights held; frozen biases and positions get no gradient."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, valid: Tensor, positions: Positions) -> Tensor:
        near, far, k, v = split(qkv, positions)
        k, v = k.contiguous(), v.contiguous()
        distances = _by_distance(far, positions.relative)
        found = weights(near @ k.transpose(-1, -2), distances, valid)
        ctx.save_for_backward(near, k, v, found, positions.relative)
        ctx.scale = positions.scale
        return turned(found @ v, to_heads=False).view(*qkv.shape[:2], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        near, k, v, found, relative = ctx.saved_tensors
        batch, heads, frames, head_dim = near.shape
        grad = turned(gradients[0].view(batch, frames, heads, head_dim), to_heads=True)
        of_scores, of_distances = score_gradients(grad @ v.transpose(-1, -2), found)
        of_far = of_distances.view(heads, batch * frames, -1) @ relative.transpose(-1, -2)
        of_qkv = joined(
            of_scores @ k,
            of_far.view(heads, batch, frames, head_dim),
            of_scores.transpose(-1, -2) @ near,
            found.transpose(-1, -2) @ grad,
            ctx.scale,
        )
        return of_qkv, None, None


def _by_distance(far: Tensor, relative: Tensor) -> Tensor:
    """Return the scores by distance, (heads, batch, frames, 2 frames)."""
    heads, batch, frames, head_dim = far.shape
    # All utterances read the same positions, so that they are rows of one product a head.
    return (far.reshape(heads, -1, head_dim) @ relative).view(heads, batch, frames, -1)


def _parts(qkv: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what ``split`` does, by views where it can be."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    far = ((q + positions.bias_v) * positions.scale).transpose(0, 1)
    return (q + positions.bias_u) * positions.scale, far, k, v


def split(qkv: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the queries for content and, by head first, for distance, the keys and the values.

    Args:
        qkv: see ``attend``.
        positions: see ``attend``.
    """
    if not kernels.can_run(qkv.device):
        return _parts(qkv, positions)
    from tpactl.bases.fast import attention_kernel  # it imports Triton

    qkv = qkv.contiguous()
    batch, frames, _, heads, head_dim = qkv.shape
    near, k, v = qkv.new_empty(3, batch, heads, frames, head_dim)
    far = qkv.new_empty(heads, batch, frames, head_dim)
    attention_kernel.split[_tiles(batch * frames), 3 * heads](
        qkv,
        positions.bias_u.contiguous(),
        positions.bias_v.contiguous(),
        near,
        far,
        k,
        v,
        positions.scale,
        batch,
        frames,
        heads,
        head_dim,
        TOKENS,
        kernels.block(head_dim),
    )
    return near, far, k, v


def joined(near: Tensor, far: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Return the gradient of ``qkv`` by those of what ``split`` returned."""
    batch, heads, frames, head_dim = near.shape
    out = near.new_empty(batch, frames, 3, heads, head_dim)
    if not kernels.can_run(near.device):
        of_q, of_k, of_v = out.permute(2, 0, 3, 1, 4)
        torch.add(near * scale, far.transpose(0, 1) * scale, out=of_q)
        of_k.copy_(k)
        of_v.copy_(v)
        return out
    from tpactl.bases.fast import attention_kernel

    parts = (part.contiguous() for part in (near, far, k, v))
    attention_kernel.join[_tiles(batch * frames), 3 * heads](
        *parts, out, scale, batch, frames, heads, head_dim, TOKENS, kernels.block(head_dim)
    )
    return out


def turned(source: Tensor, *, to_heads: bool) -> Tensor:
    """Return (batch, frames, heads, head_dim) as (batch, heads, frames, head_dim), or back."""
    if not kernels.can_run(source.device):
        return source.transpose(1, 2).contiguous()
    from tpactl.bases.fast import attention_kernel

    source = source.contiguous()
    batch, one, other, head_dim = source.shape
    frames, heads = (one, other) if to_heads else (other, one)
    out = source.new_empty(batch, other, one, head_dim)
    attention_kernel.turn[_tiles(batch * frames), heads](
        source, out, batch, frames, heads, head_dim, to_heads, TOKENS, kernels.block(head_dim)
    )
    return out


def _weights_by_kernel(scores: Tensor, distances: Tensor, valid: Tensor) -> Tensor:
    from tpactl.bases.fast import attention_kernel

    batch, heads, frames, _ = scores.shape
    scores, distances, valid = scores.contiguous(), distances.contiguous(), valid.contiguous()
    out = torch.empty_like(scores)
    attention_kernel.weights[_rows(scores)](
        scores, distances, valid, out, batch, heads, frames, ROWS, kernels.block(frames)
    )
    return out


def score_gradients(grad: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of scores and distances.

    Args:
        grad: of the weights, (batch, heads, frames, frames).
        found: the weights.
    """
    batch, heads, frames, _ = grad.shape
    if not kernels.can_run(grad.device):
        of_scores = torch.ops.aten._softmax_backward_data(grad, found, -1, found.dtype)
        of_distances = grad.new_zeros(heads, batch, frames, 2 * frames)
        shift(of_distances).copy_(of_scores)
        return of_scores, of_distances
    from tpactl.bases.fast import attention_kernel

    grad = grad.contiguous()
    of_scores = torch.empty_like(grad)
    of_distances = grad.new_empty(heads, batch, frames, 2 * frames)
    attention_kernel.score_gradients[_rows(grad)](
        grad, found, of_scores, of_distances, batch, heads, frames, ROWS, kernels.block(frames)
    )
    return of_scores, of_distances


def _rows(scores: Tensor) -> tuple[int]:
    return (-(-scores.numel() // scores.shape[-1] // ROWS),)


def _tiles(tokens: int) -> int:
    return -(-tokens // TOKENS)
