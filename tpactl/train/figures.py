"""Losses and gradient norms of steps on their way from the device to the events."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tpactl.formats.run import Event
from tpactl.train.ranks import Ranks

STEPS_TOGETHER = 10
"""Read at once from a device that computes beside the host: each reading costs a message."""

Figures = tuple[Event, float, float]
"""What a step's event still lacks is its loss and its gradient norm."""


class ComingFigures:
    """Copies the figures of several steps at once, and reads them when the next are copied.

    Who reads a number at once waits until the device has computed all that it was given, and the
    device then waits for its next work.

    Args:
        ranks: the processes that share each batch; losses are added up.
        kind: of device, ``cpu``, ``cuda``, ...
    """

    def __init__(self, ranks: Ranks, kind: str) -> None:
        self._ranks = ranks
        self._together = 1 if kind == "cpu" else STEPS_TOGETHER
        self._has_events = kind == "cuda"
        self._waiting: list[tuple[Event, Tensor, Tensor]] = []
        self._copied: tuple[list[Event], Tensor, torch.cuda.Event | None] | None = None

    def add(self, event: Event, loss: Tensor, norm: Tensor) -> None:
        """Take the figures of one more step, both scalars on the device."""
        self._waiting.append((event, loss, norm))

    @property
    def is_due(self) -> bool:
        """Whether enough steps have come together."""
        return len(self._waiting) >= self._together

    def read(self, *, everything: bool) -> Iterator[Figures]:
        """Return figures in the order of the steps, those of the last few only on demand."""
        yield from self._arrived()
        self._copy()
        # Only CUDA copies while it computes.
        if everything or not self._has_events:
            yield from self._arrived()

    def _copy(self) -> None:
        if not self._waiting:
            return
        events, losses, norms = zip(*self._waiting, strict=True)
        self._waiting = []
        there = torch.stack([self._ranks.add(torch.stack(losses)), torch.stack(norms)])
        here = there.to("cpu", non_blocking=self._has_events)
        done = torch.cuda.Event() if self._has_events else None
        if done is not None:
            done.record()
        self._copied = (list(events), here, done)

    def _arrived(self) -> Iterator[Figures]:
        if self._copied is None:
            return
        events, figures, done = self._copied
        self._copied = None
        if done is not None:
            done.synchronize()
        losses, norms = figures.tolist()
        yield from zip(events, losses, norms, strict=True)
