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
    norms=("norm_feed_forward1", "norm_feed_forward2"),
    linear_in="linear1",
    linear_out="linear2",
    activation="activation",
    output_lengths=subsampled_lengths,
)
