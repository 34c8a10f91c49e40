"""Train on a frozen base without computing twice what never changes.

The blocks are rewritten (``bases.fast``), the bottlenecks fused into their feed-forward products,
and the model is cut below its lowest trained block: ``prefix`` is the same in every epoch and may
be kept, ``logits`` is what a step must compute. The hooks of ``Adapter`` stay the reference; the
tests compare the two.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.bottleneck import ParallelBottleneck
from tpactl.adapters.prefix import Hidden
from tpactl.bases.base import Base, Features
from tpactl.bases.fast.feed_forward import Bottleneck
from tpactl.bases.fast.parakeet import FastParakeetBlock
from tpactl.formats.adapter import Shape


def applies(base: Base, adapter: Adapter) -> bool:
    """Return whether the rewritten blocks compute what ``adapter`` on ``base`` does."""
    shape = adapter.settings
    fused = not adapter.parts or (
        isinstance(shape, Shape)
        and (shape.form, shape.input, shape.activation) == ("parallel", "ffn", "ffn")
        and sorted(shape.sites) == ["ffn1", "ffn2"]
        and shape.dropout == 0
    )
    fused = fused and all(part.path == base.head_path for part in adapter.decoder)
    config: Any = getattr(base.model.config, "encoder_config", None)
    return (
        fused
        and base.family.name == "parakeet"
        and getattr(config, "hidden_act", None) == "silu"
        and all(block.path.startswith("encoder.layers.") for block in base.blocks)
    )


class FastPath(nn.Module):
    """A base with one adapter, cut at the lowest trained block.

    Args:
        base: a Parakeet; see ``applies``.
        adapter: attached to it; its tensors are used in place, so what trains here trains there.
        max_frames: the longest sequence after subsampling.
    """

    def __init__(self, base: Base, adapter: Adapter, max_frames: int) -> None:
        super().__init__()
        encoder: Any = base.model.get_submodule("encoder")
        with torch.no_grad():
            positions = encoder.encode_positions(
                torch.zeros(1, max_frames, 1, device=base.device, dtype=base.dtype)
            )
        self.blocks = nn.ModuleList(
            FastParakeetBlock(block, max_frames, positions) for block in base.blocks
        )
        self.lowest = min(adapter.block_indices, default=len(base.blocks))
        self.max_frames = max_frames
        # Tuples hide from nn.Module what belongs to base and adapter.
        self._base = (base,)
        self._adapter = (adapter,)
        bottlenecks = [bottleneck for _, bottleneck in adapter.sites()]
        pairs = zip(bottlenecks[::2], bottlenecks[1::2], strict=True)
        self._pairs = dict(zip(adapter.block_indices, pairs, strict=True))

    @torch.no_grad()
    def prefix(self, features: Features) -> Hidden:
        """Return what reaches the lowest trained block; no gradient flows below it."""
        base = self._base[0]
        encoder: Any = base.model.get_submodule("encoder")
        inputs = features.inputs.to(base.device, base.dtype, non_blocking=True)
        mask = torch.arange(inputs.shape[1])[None] < features.lengths[:, None]
        hidden = encoder.subsampling(inputs, mask.to(base.device)) * encoder.input_scale
        lengths = base.output_lengths(features.lengths)
        valid = self._valid(hidden, lengths)
        for block in self.blocks[: self.lowest]:
            hidden = block(hidden, valid)
        return Hidden(hidden, lengths)

    def logits(self, hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Return (batch, frames, vocabulary) logits and their (batch,) valid lengths."""
        frames = hidden.frames
        valid = self._valid(frames, hidden.lengths)
        for index in range(self.lowest, len(self.blocks)):
            first, second = self._pairs.get(index, (None, None))
            frames = self.blocks[index](frames, valid, _tensors(first), _tensors(second))
        head = self._adapter[0].head
        return head(frames.to(next(head.parameters()).dtype)), hidden.lengths

    @staticmethod
    def _valid(frames: Tensor, lengths: Tensor) -> Tensor:
        valid = torch.arange(frames.shape[1])[None] < lengths[:, None]
        return valid.to(frames.device, non_blocking=True)


def _tensors(bottleneck: ParallelBottleneck | None) -> Bottleneck | None:
    if bottleneck is None:
        return None
    down, up, scale = bottleneck.down, bottleneck.up, bottleneck.scale
    return Bottleneck(down.weight, down.bias, up.weight * scale, up.bias * scale)
