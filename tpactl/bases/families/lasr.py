"""LASR: Parakeet's names in a block, other residual weights, linear layers without bias.

The residual weights are applied outside the modules, where an adapter does not reach, so it needs
nothing of its own; the mark keeps the two families apart.
"""

from __future__ import annotations

from torch import Tensor, nn

from tpactl.bases.blocks import Family
from tpactl.bases.families import parakeet


def subsampled_lengths(model: nn.Module, num_frames: Tensor) -> Tensor:
    """Return how many logit frames ``num_frames`` feature frames become; both (batch,)."""
    # Two unpadded convolutions: below 13 frames nothing is left, and the formula goes negative.
    return parakeet.subsampled_lengths(model, num_frames).clamp(min=0)


FAMILY = Family(
    name="lasr",
    ffn=("feed_forward1", "feed_forward2"),
    attention="self_attn",
    conv="conv",
    norms=("norm_feed_forward1", "norm_self_att", "norm_conv", "norm_feed_forward2"),
    final_norm="norm_out",
    linear_in="linear1",
    linear_out="linear2",
    activation="activation",
    projections=("q_proj", "k_proj", "v_proj", "o_proj"),
    output_lengths=subsampled_lengths,
    front="encoder.subsampler",
    marks=("feed_forward_residual_weights",),
)
