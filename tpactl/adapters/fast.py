"""Train on a frozen base without computing twice what never changes.

The blocks are rewritten (``bases.fast``), the bottlenecks fused into their feed-forward products,
and the model is cut below its lowest trained block: ``prefix`` is the same in every epoch and may
be kept, ``above`` is what a step must compute. The hooks of ``Adapter`` stay the reference; the
tests compare the two.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.bottleneck import ParallelBottleneck
from tpactl.adapters.prefix import Hidden
from tpactl.bases.base import Base, Features
from tpactl.bases.fast.feed_forward import Bottleneck
from tpactl.bases.fast.parakeet import FastParakeetBlock
from tpactl.bases.fast.subsampling import FastSubsampling
from tpactl.formats.adapter import Shape


def applies(base: Base, adapter: Adapter) -> bool:
    """Return whether the rewritten blocks compute what ``adapter`` on ``base`` does."""
    shape = adapter.settings
    fused = not adapter.parts or (
        isinstance(shape, Shape)
        and (shape.form, shape.input, shape.activation) == ("parallel", "ffn", "ffn")
        and sorted(shape.sites) == ["ffn1", "ffn2"]
    )
    fused = fused and all(part.path == base.head_path for part in adapter.decoder)
    config: Any = getattr(base.model.config, "encoder_config", None)
    return (
        fused
        and base.family.name == "parakeet"
        # The head of a transducer reads more than frames.
        and base.decoder.name == "ctc"
        and getattr(config, "hidden_act", None) == "silu"
        and all(block.path.startswith("encoder.layers.") for block in base.blocks)
    )


class FastPath(nn.Module):
    """A base with one adapter, cut at the lowest trained block.

    Args:
        base: a Parakeet; see ``applies``.
        adapter: attached to it; its tensors are used in place, so what trains here trains there.
        max_frames: the longest sequence after subsampling.
        dtype: of the activations and the frozen weights; the base's own without it.
        lend: the base's large weights are of that dtype, and are held once for both.
    """

    def __init__(
        self,
        base: Base,
        adapter: Adapter,
        max_frames: int,
        dtype: torch.dtype | None = None,
        *,
        lend: bool = False,
    ) -> None:
        super().__init__()
        self.dtype = dtype or base.dtype
        encoder: Any = base.model.get_submodule("encoder")
        with torch.no_grad():
            positions = encoder.encode_positions(
                torch.zeros(1, max_frames, 1, device=base.device, dtype=torch.float32)
            )
        bottlenecks = [bottleneck for _, bottleneck in adapter.sites()]
        pairs = zip(bottlenecks[::2], bottlenecks[1::2], strict=True)
        self._pairs = dict(zip(adapter.block_indices, pairs, strict=True))
        self.blocks = nn.ModuleList()
        for index, block in enumerate(base.blocks):
            beside = self._pairs[index][0] if index in self._pairs else None
            width, dropout = (len(beside.down.bias), beside.dropout) if beside else (0, 0.0)
            fast = FastParakeetBlock(block, max_frames, positions, width, dropout, self.dtype)
            if lend:
                fast.lend(block)
            self.blocks.append(fast)
        self.lowest = min(adapter.block_indices, default=len(base.blocks))
        self.max_frames = max_frames
        self.subsampling = FastSubsampling(encoder.subsampling, self.dtype)
        # Tuples hide from nn.Module what belongs to base and adapter.
        self._base = (base,)
        self._adapter = (adapter,)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return (batch, frames, vocabulary) logits; nothing in here waits for the device.

        Args:
            inputs: of ``Features``, on the base's device.
            lengths: of ``Features``, on the base's device.
        """
        frames, valid = self._below(inputs, lengths)
        return self._above(frames, valid)

    def above(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of what leaves the prefix; nothing in here waits for the device.

        Args:
            frames: of ``Hidden``, on the base's device.
            lengths: of ``Hidden``, on the base's device.
        """
        return self._above(frames.to(self.dtype), _valid(frames, lengths))

    def prefix(self, features: Features) -> Hidden:
        """Return what reaches the lowest trained block; no gradient flows below it."""
        device = self._base[0].device
        frames, _ = self._below(features.inputs.to(device), features.lengths.to(device))
        return Hidden(frames, self._base[0].output_lengths(features.lengths))

    @torch.no_grad()
    def _below(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        base = self._base[0]
        encoder: Any = base.model.get_submodule("encoder")
        mask = _valid(inputs, lengths)
        with torch.autocast(inputs.device.type, self.dtype, enabled=self.dtype != base.dtype):
            frames = self.subsampling(inputs.to(base.dtype), mask) * encoder.input_scale
        frames = frames.to(self.dtype)
        valid = _valid(frames, base.output_lengths(lengths))
        for block in self.blocks[: self.lowest]:
            frames = block(frames, valid)
        return frames, valid

    def _above(self, frames: Tensor, valid: Tensor) -> Tensor:
        trained = {index: [_tensors(b) for b in pair] for index, pair in self._pairs.items()}
        self._put_in_place(trained)
        for index in range(self.lowest, len(self.blocks)):
            frames = self.blocks[index](frames, valid, *trained.get(index, (None, None)))
        head: Any = self._adapter[0].head
        # A convolution over single frames; as a product it needs no transposed copies.
        weight = head.weight[..., 0]
        return F.linear(frames.to(weight.dtype), weight, head.bias)

    @torch.no_grad()
    def _put_in_place(self, trained: dict[int, list[Bottleneck]]) -> None:
        """Copy the trained tensors beside the frozen ones."""
        # Apart, because one tensor with gaps makes a copy of its own of every other.
        whole: tuple[list[Tensor], list[Tensor]] = ([], [])
        gaps: tuple[list[Tensor], list[Tensor]] = ([], [])
        for index, (first, second) in trained.items():
            block: Any = self.blocks[index]
            for module, own in ((block.feed_forward1, first), (block.feed_forward2, second)):
                down, down_bias, up = module.room()
                whole[0].extend((down, down_bias))
                whole[1].extend((own.down, own.down_bias))
                gaps[0].append(up)
                gaps[1].append(own.up)
        for places, values in (whole, gaps):
            if places:
                torch._foreach_copy_(places, values)


def _valid(frames: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(frames.shape[1], device=frames.device)[None] < lengths[:, None]


def _tensors(bottleneck: ParallelBottleneck) -> Bottleneck:
    down, up, scale = bottleneck.down, bottleneck.up, bottleneck.scale
    if isinstance(scale, float) and scale == 1.0:
        return Bottleneck(down.weight, down.bias, up.weight, up.bias)
    return Bottleneck(down.weight, down.bias, up.weight * scale, up.bias * scale)
