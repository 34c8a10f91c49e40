"""ParakeetForCTC's forward for training: the same numbers, less work, in CUDA graphs.

transformers projects the relative positions once per utterance; here it is once per batch.
``check.py`` compares the logits with ``ParakeetForCTC``'s own, padded batches included.

Some directions of the weights change nothing: what is added to all keys alike (the softmax takes it
out again) and what is added to a channel before BatchNorm. Their gradient is rounding noise, which
Adam blows up to full steps. In a run of 940 seconds the position scores' common offset grew to 450,
where bfloat16 resolves steps of 2, and training collapsed after 3,000 steps. So here the offset is
taken out in float32 before anything is rounded, and the two kinds of bias are zero and not trained.
"""

from __future__ import annotations

import types

import torch
from pool import BucketShape, encoder_frames
from torch import Tensor, nn
from torch.nn import functional
from transformers import ParakeetForCTC
from transformers.models.parakeet.modeling_parakeet import (
    ParakeetEncoderAttention,
    ParakeetEncoderConvolutionModule,
)


def _attention(
    self: ParakeetEncoderAttention,
    hidden_states: Tensor,
    position_embeddings: Tensor,
    attention_mask: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Stand in for ``ParakeetEncoderAttention.forward``.

    Args:
        self: the attention module.
        hidden_states: (batch, frames, d_model).
        position_embeddings: (1, 2 frames - 1, d_model).
        attention_mask: (batch, 1, frames, frames), true where a key is valid.
        **_: what else transformers passes; none of it is used.
    """
    batch, frames, _width = hidden_states.shape
    heads, head_dim = self.config.num_attention_heads, self.head_dim
    query, key, value = (
        projection(hidden_states).view(batch, frames, heads, head_dim).transpose(1, 2)
        for projection in (self.q_proj, self.k_proj, self.v_proj)
    )
    with torch.autocast(hidden_states.device.type, enabled=False):
        relative = self.relative_k_proj(
            position_embeddings[0].float()
        )  # (2 frames - 1, heads x head_dim)
        relative = (relative - relative.mean(0)).view(-1, heads, head_dim).permute(1, 2, 0)
    bias = (query + self.bias_v.view(1, heads, 1, head_dim).to(query.dtype)) @ relative.to(
        query.dtype
    )
    bias = functional.pad(bias, (1, 0)).view(batch, heads, -1, frames)[:, :, 1:]
    bias = bias.view(batch, heads, frames, 2 * frames - 1)[..., :frames] * self.scaling
    if attention_mask is not None:
        bias = bias.masked_fill(~attention_mask, -1e4)  # bf16 holds it, and exp of it is 0
    output = functional.scaled_dot_product_attention(
        query + self.bias_u.view(1, heads, 1, head_dim).to(query.dtype),
        key,
        value,
        attn_mask=bias.to(query.dtype),
        dropout_p=self.attention_dropout if self.training else 0.0,
        scale=self.scaling,
    )
    return self.o_proj(output.transpose(1, 2).reshape(batch, frames, -1)), None


@torch.no_grad()
def prepare_for_training(model: ParakeetForCTC) -> None:
    """Give ``model``'s attention the faster forward, and zero the biases that change nothing.

    Weights keep their names; the model's logits stay what they were.
    """
    for module in model.modules():
        if isinstance(module, ParakeetEncoderAttention):
            module.forward = types.MethodType(_attention, module)
            module.k_proj.bias.zero_()
            module.k_proj.bias.requires_grad_(False)
        elif isinstance(module, ParakeetEncoderConvolutionModule):
            module.norm.running_mean.sub_(module.depthwise_conv.bias)
            module.depthwise_conv.bias.zero_()
            module.depthwise_conv.bias.requires_grad_(False)


class TrainingForward(nn.Module):
    """Features, mask and counts -> logits, for a model of ``prepare_for_training``."""

    def __init__(self, model: ParakeetForCTC) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
        """Return logits (batch, encoder frames, vocabulary) of features (batch, frames, mels)."""
        encoder = self.model.encoder
        hidden = encoder.subsampling(features, mask) * encoder.input_scale
        positions = encoder.encode_positions(hidden[:1].float())
        frames = hidden.shape[1]
        valid = torch.arange(frames, device=hidden.device)[None] < encoder_frames(counts)[:, None]
        attention_mask = valid[:, None, None].expand(-1, 1, frames, -1)
        hidden = functional.dropout(hidden, encoder.dropout, self.training)
        for block in encoder.layers:
            hidden = block(hidden, attention_mask=attention_mask, position_embeddings=positions)
        return self.model.ctc_head(hidden)


def capture_graphs(forward: TrainingForward, shapes: tuple[BucketShape, ...]) -> list[nn.Module]:
    """Return one graph-replayed ``forward`` per bucket shape, on the same weights; needs CUDA.

    Capturing runs the network on noise, so the weights' buffers (BatchNorm's averages) are put back
    afterwards.
    """
    device = next(forward.parameters()).device
    forward.train()
    state = {name: tensor.clone() for name, tensor in forward.state_dict().items()}
    replayed = []
    # One memory pool: a backward is over before the next forward begins, whichever graph it is.
    memory = torch.cuda.graph_pool_handle()
    for shape in shapes:
        features = torch.randn(shape.batch, shape.num_frames, 80, device=device)
        counts = torch.full((shape.batch,), shape.num_frames, device=device, dtype=torch.int64)
        mask = torch.arange(shape.num_frames, device=device)[None] < counts[:, None]
        own = TrainingForward(forward.model).train()
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            replayed.append(
                torch.cuda.make_graphed_callables(own, (features, mask, counts), pool=memory)
            )
    forward.load_state_dict(state)
    return replayed
