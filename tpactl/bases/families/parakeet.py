"""Parakeet (FastConformer): log-mel frames, convolutional subsampling by 4 or 8."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from tpactl.bases.blocks import Family


def subsampled_lengths(model: nn.Module, num_frames: Tensor) -> Tensor:
    """Return how many logit frames ``num_frames`` feature frames become; both (batch,)."""
    return cast(Any, model)._get_subsampling_output_length(num_frames).long()


FAMILY = Family(
    name="parakeet",
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
    front="encoder.subsampling",
)
