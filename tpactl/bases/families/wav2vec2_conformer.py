"""Wav2Vec2-Conformer: raw samples in, a convolutional encoder with a stride of 320 in front."""

from __future__ import annotations

from tpactl.bases.blocks import Family
from tpactl.bases.families.wav2vec2_bert import feature_lengths

FAMILY = Family(
    name="wav2vec2-conformer",
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
    marks=("conv_module.batch_norm",),
    # Its convolution module takes no mask, unlike the three others'.
    padding_leaks=True,
)
