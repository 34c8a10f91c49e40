"""Wav2Vec2-BERT: stacked log-mel frames in, one logit frame for each."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from tpactl.bases.blocks import Family


def feature_lengths(model: nn.Module, input_lengths: Tensor) -> Tensor:
    """Return how many logit frames the inputs become; both (batch,)."""
    return cast(Any, model)._get_feat_extract_output_lengths(input_lengths).long()


FAMILY = Family(
    name="wav2vec2-bert",
    ffn=("ffn1", "ffn2"),
    attention="self_attn",
    conv="conv_module",
    # The convolution module owns its norm; the others' stand in front of them.
    norms=(
        "ffn1_layer_norm",
        "self_attn_layer_norm",
        "conv_module.layer_norm",
        "ffn2_layer_norm",
    ),
    final_norm="final_layer_norm",
    linear_in="intermediate_dense",
    linear_out="output_dense",
    activation="intermediate_act_fn",
    projections=("linear_q", "linear_k", "linear_v", "linear_out"),
    output_lengths=feature_lengths,
    marks=("conv_module.depthwise_layer_norm",),
)
