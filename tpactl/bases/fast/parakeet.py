"""A frozen Parakeet block: one product for q, k and v, BatchNorm folded, positions projected once.

It computes what ``ParakeetEncoderBlock`` computes in ``eval()`` on all valid frames; what padded
frames hold differs and reaches nothing. ``tests/bases/test_fast.py`` compares both, and gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpactl.bases.blocks import Block
from tpactl.bases.fast.attention import Positions, attend
from tpactl.bases.fast.depthwise import convolve
from tpactl.bases.fast.feed_forward import Bottleneck, FrozenFeedForward
from tpactl.bases.fast.norm import AddedNorm


class FastParakeetBlock(nn.Module):
    """One block with frozen weights, all of them buffers: ``to`` leaves the reference alone.

    Args:
        block: the reference block; its tensors are read, shared where they can be, never changed.
        max_frames: the longest sequence, after subsampling, it will meet.
        positions: (1, 2 max_frames - 1, d_model), the encoder's encoding of ``max_frames``.
        width: of the bottlenecks beside both feed-forward modules; 0 where it carries none.
        dropout: of the bottlenecks' hidden units, in training mode.
        dtype: of the weights and the activations.
    """

    def __init__(
        self,
        block: Block,
        max_frames: int,
        positions: Tensor,
        width: int,
        dropout: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        reference: Any = block.module
        self.feed_forward1, self.feed_forward2 = (
            FrozenFeedForward(site.linear_in, site.linear_out, width, dropout, dtype)
            for site in (block.ffn1, block.ffn2)
        )
        self.norms = nn.ModuleDict(
            {
                "feed_forward1": AddedNorm(reference.norm_feed_forward1),
                "attention": AddedNorm(reference.norm_self_att, alpha=0.5),
                "convolution": AddedNorm(reference.norm_conv),
                "feed_forward2": AddedNorm(reference.norm_feed_forward2),
                "out": AddedNorm(reference.norm_out, alpha=0.5),
            }
        )
        self.attention = _Attention(reference.self_attn, max_frames, positions)
        self.convolution = _Convolution(reference.conv)
        self.to(dtype)

    def lend(self, block: Block) -> None:
        """Have the reference block read the large weights here, so that they are held once.

        The values are the same where the reference's dtype is this block's.
        """
        attention = self.attention.qkv_weight.chunk(3)
        projections = [block.layers[f"attention.{name}"].module for name in "qkv"]
        pairs = list(zip(projections, attention, strict=True))
        for site, own in ((block.ffn1, self.feed_forward1), (block.ffn2, self.feed_forward2)):
            pairs += zip((site.linear_in, site.linear_out), own.frozen(), strict=True)
        for module, weight in pairs:
            assert module.weight.dtype == weight.dtype
            module.weight.data = weight

    def forward(
        self,
        hidden: Tensor,
        valid: Tensor,
        first: Bottleneck | None = None,
        second: Bottleneck | None = None,
    ) -> Tensor:
        """Return the block's output.

        Args:
            hidden: (batch, frames, d_model).
            valid: (batch, frames), bool; false on padding.
            first: the bottleneck beside the first feed-forward module.
            second: the one beside the second.

        Returns:
            Same shape and dtype as ``hidden``.
        """
        norms = self.norms
        hidden, normed = norms["feed_forward1"](hidden)
        hidden, normed = norms["attention"](hidden, self.feed_forward1(normed, first))
        hidden, normed = norms["convolution"](hidden, self.attention(normed, valid))
        hidden, normed = norms["feed_forward2"](hidden, self.convolution(normed, valid))
        _, normed = norms["out"](hidden, self.feed_forward2(normed, second))
        return normed


class _Attention(nn.Module):
    """Relative-position attention (Dai et al. 2019, sec. 3.3), what is frozen put together."""

    def __init__(self, reference: Any, max_frames: int, positions: Tensor) -> None:
        super().__init__()
        self.heads = int(reference.config.num_attention_heads)
        self.head_dim = int(reference.head_dim)
        self.scale = float(reference.scaling)
        self.max_frames = max_frames
        projections = (reference.q_proj, reference.k_proj, reference.v_proj)
        with torch.no_grad():
            weight = torch.cat([p.weight for p in projections])
            bias = (
                torch.cat([p.bias for p in projections])
                if projections[0].bias is not None
                else None
            )
            # (heads, head_dim, 2 max_frames); a shorter sequence's is a slice of it.
            projection = reference.relative_k_proj.weight.float()
            relative = F.linear(positions[0].float(), projection)
            # What all positions have in common cancels in the softmax; it may be large, and then
            # rounding to half precision would cost the part that counts.
            relative = (relative - relative.mean(0)).to(weight.dtype)
            relative = relative.view(-1, self.heads, self.head_dim).permute(1, 2, 0)
            # A last column that is never read: products over an odd width run slower kernels.
            relative = F.pad(relative, (0, 1)).contiguous()
        self.register_buffer("qkv_weight", weight, persistent=False)
        self.register_buffer("qkv_bias", bias, persistent=False)
        self.register_buffer("relative", relative, persistent=False)
        self.register_buffer("bias_u", reference.bias_u.detach()[:, None], persistent=False)
        self.register_buffer("bias_v", reference.bias_v.detach()[:, None], persistent=False)
        self.register_buffer("out_weight", reference.o_proj.weight.detach(), persistent=False)
        out_bias = None if reference.o_proj.bias is None else reference.o_proj.bias.detach()
        self.register_buffer("out_bias", out_bias, persistent=False)
        self.qkv_weight: Tensor
        self.qkv_bias: Tensor | None
        self.relative: Tensor
        self.bias_u: Tensor
        self.bias_v: Tensor
        self.out_weight: Tensor
        self.out_bias: Tensor | None

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        batch, frames, _ = hidden.shape
        qkv = F.linear(hidden, self.qkv_weight, self.qkv_bias)
        start = self.max_frames - frames
        positions = Positions(
            self.bias_u, self.bias_v, self.relative[..., start : start + 2 * frames], self.scale
        )
        merged = attend(qkv.view(batch, frames, 3, self.heads, self.head_dim), valid, positions)
        return F.linear(merged, self.out_weight, self.out_bias)


class _Convolution(nn.Module):
    """The convolution module with BatchNorm folded into the depthwise weights."""

    def __init__(self, reference: Any) -> None:
        super().__init__()
        norm = reference.norm
        depthwise = reference.depthwise_conv
        with torch.no_grad():
            # Folded in float32: a half-precision quotient would lose what the fold is exact in.
            gain = norm.weight.float() / torch.sqrt(norm.running_var.float() + norm.eps)
            shift = norm.bias.float() - norm.running_mean.float() * gain
            if depthwise.bias is not None:
                shift = shift + depthwise.bias.float() * gain
            weight = depthwise.weight.squeeze(1).float() * gain[:, None]
        dtype = depthwise.weight.dtype
        self.register_buffer("weight", weight.to(dtype), persistent=False)
        self.register_buffer("shift", shift.to(dtype), persistent=False)
        for name in ("pointwise_conv1", "pointwise_conv2"):
            layer = getattr(reference, name)
            bias = None if layer.bias is None else layer.bias.detach()
            self.register_buffer(f"{name}_weight", layer.weight.detach()[..., 0], persistent=False)
            self.register_buffer(f"{name}_bias", bias, persistent=False)
        self.weight: Tensor
        self.shift: Tensor
        self.pointwise_conv1_weight: Tensor
        self.pointwise_conv1_bias: Tensor | None
        self.pointwise_conv2_weight: Tensor
        self.pointwise_conv2_bias: Tensor | None

    def forward(self, hidden: Tensor, valid: Tensor) -> Tensor:
        values = F.linear(hidden, self.pointwise_conv1_weight, self.pointwise_conv1_bias)
        mixed = convolve(values, valid, self.weight, self.shift)
        return F.linear(mixed, self.pointwise_conv2_weight, self.pointwise_conv2_bias)
