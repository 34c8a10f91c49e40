"""The frozen prefix: below the lowest block that an adapter changes, nothing depends on it.

What leaves the prefix is the same in every epoch, so it is computed once. The rest goes through the
model's own ``forward`` with the modules of the prefix standing aside: they return what was kept and
compute nothing. So masks, positions and whatever a family does between its blocks stay its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.part import computing
from tpactl.bases.base import Base, Features

_LONGEST = 1 << 16
"""Input frames up to which lengths before and after subsampling are matched (11 minutes)."""


@dataclass(frozen=True)
class Hidden:
    """A batch between the frozen prefix and what an adapter changes."""

    frames: Tensor
    """(batch, frames, d_model)."""
    lengths: Tensor
    """(batch,) valid frames, on the CPU."""


class NoPrefixError(Exception):
    """Nothing below this adapter stays the same; the message says why."""


class _Reached(Exception):  # noqa: N818 (it is no error: it ends a forward that was wanted no further)
    def __init__(self, frames: Tensor) -> None:
        self.frames = frames


class Prefix:
    """The modules of ``base`` below everything that ``adapter`` changes.

    Args:
        base: with the adapter active.
        adapter: attached to it.

    Raises:
        NoPrefixError: the adapter changes what comes before the blocks, or the family's modules do
            not let a prefix be kept.
    """

    def __init__(self, base: Base, adapter: Adapter) -> None:
        front = base.family.front
        if front is None or base.family.padding_leaks:
            raise NoPrefixError(f"models of the family {base.family.name} have none")
        paths = [str(part.path) for part in (*adapter.parts, *adapter.decoder)]
        outside = [path for path in paths if _block_of(path, base) is None]
        if outside:
            raise NoPrefixError(f"{adapter.method} trains {outside[0]}, in front of all blocks")
        self.base = base
        self.num_blocks = lowest_block(adapter)
        """Blocks that belong to the prefix."""
        self._front = base.model.get_submodule(front)
        lengths = base.output_lengths(torch.arange(1, _LONGEST))
        self._input_lengths = torch.searchsorted(lengths.contiguous(), torch.arange(_LONGEST)) + 1
        self._on_device = self._input_lengths

    @torch.no_grad()
    def compute(self, features: Features) -> Hidden:
        """Return what leaves the prefix; nothing above it is computed."""
        below = self.base.blocks[: self.num_blocks]
        last = below[-1].module if below else self._front

        def reached(module: nn.Module, args: Any, out: Any) -> None:
            raise _Reached(out[0] if isinstance(out, tuple) else out)

        handle = last.register_forward_hook(reached)
        try:
            self.base.logits(features)
        except _Reached as end:
            return Hidden(end.frames, self.base.output_lengths(features.lengths))
        finally:
            handle.remove()
        raise AssertionError("the model ended without its first block")

    def logits(self, hidden: Hidden) -> tuple[Tensor, Tensor]:
        """Return what ``Base.logits`` does, with what is kept in the place of the features.

        Args:
            hidden: of ``compute``; what padded frames hold reaches nothing.
        """
        frames = hidden.frames.to(self.base.device, self.base.dtype, non_blocking=True)
        lengths = hidden.lengths.to(self.base.device, non_blocking=True)
        return self.forward(frames, lengths), hidden.lengths

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Return (batch, frames, vocabulary) logits; nothing in here waits for the device.

        Args:
            frames: of ``Hidden``, on the base's device.
            lengths: of ``Hidden``, on the base's device.
        """
        frames = frames.to(self.base.dtype)
        longest = int(self._input_lengths[frames.shape[1]])
        # Only its shape is looked at: the module that would read it stands aside.
        unread = frames.new_zeros(1).expand(len(frames), longest, 1)
        self._on_device = self._on_device.to(frames.device)
        with ExitStack() as stack:
            stack.enter_context(standing_aside(self._front, frames))
            for block in self.base.blocks[: self.num_blocks]:
                stack.enter_context(standing_aside(block.module, frames))
            return self.base.forward(unread, self._on_device[lengths])


def lowest_block(adapter: Adapter) -> int:
    """Return the number of blocks below everything that ``adapter`` changes but the decoder.

    A part of it that stands neither in a block nor above all of them counts as below them.
    """
    paths = [str(part.path) for part in (*adapter.parts, *adapter.decoder)]
    found = (_block_of(path, adapter.base) for path in paths)
    return min((index or 0 for index in found), default=len(adapter.base.blocks))


def _block_of(path: str, base: Base) -> int | None:
    """Return the block of ``path``, their number above all of them, ``None`` for the rest."""
    if base.decoder.is_above_blocks(path):
        return len(base.blocks)
    inside = (n for n, b in enumerate(base.blocks) if f"{path}.".startswith(f"{b.path}."))
    return next(inside, None)


@contextmanager
def standing_aside(module: nn.Module, out: Any) -> Iterator[None]:
    """Let ``module`` return ``out`` for a while, whatever it is given."""
    with computing([(module, lambda *args, **kwargs: out)]):
        yield
