"""Which utterances train together: batches of like durations, in an order the seed decides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

Batch = list[int]
"""Indices into the split's examples."""

JITTER = 0.05
"""Durations are blurred by this share before sorting, so that every epoch has other batches. Twice
as much costs three percent more padding."""


def epoch_batches(
    durations: Sequence[float], batch_s: float, *, seed: int, epoch: int
) -> list[Batch]:
    """Return the batches of one epoch: every index once, neighbours in duration together.

    Args:
        durations: seconds of each utterance.
        batch_s: the most seconds a batch may hold, padding to its longest included; an utterance
            longer than that is a batch of its own.
        seed: with ``epoch`` it decides batches and order, on any machine.
        epoch: counted from 0.
    """
    generator = np.random.default_rng([seed, epoch])
    lengths = np.asarray(durations, dtype=np.float64)
    blurred = lengths * generator.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    order = np.argsort(blurred, kind="stable").tolist()
    made = [[order[i] for i in batch] for batch in pack([durations[i] for i in order], batch_s)]
    return [made[i] for i in generator.permutation(len(made))]


def pack(durations: Sequence[float], batch_s: float) -> list[Batch]:
    """Return consecutive runs of ``durations`` that fit ``batch_s``, padded to their longest."""
    batches: list[Batch] = []
    longest = 0.0
    for index, duration in enumerate(durations):
        longest = max(longest, duration)
        if batches and longest * (len(batches[-1]) + 1) <= batch_s:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = duration
    return batches


class Course:
    """All batches of a training, epoch after epoch, up to a number of epochs or steps.

    Args:
        durations: seconds of each utterance.
        batch_s: see ``epoch_batches``.
        seed: see ``epoch_batches``.
        max_epochs: a fraction stops within an epoch.
        max_steps: a limit on the number of batches, or ``None``.
    """

    def __init__(
        self,
        durations: Sequence[float],
        *,
        batch_s: float,
        seed: int,
        max_epochs: float,
        max_steps: int | None,
    ) -> None:
        self._steps: list[tuple[int, Batch]] = []
        whole = int(max_epochs)
        for epoch in range(whole + (max_epochs > whole)):
            batches = epoch_batches(durations, batch_s, seed=seed, epoch=epoch)
            if epoch == whole:
                batches = batches[: max(1, round((max_epochs - whole) * len(batches)))]
            self._steps += [(epoch, batch) for batch in batches]
            if max_steps is not None and len(self._steps) >= max_steps:
                self._steps = self._steps[:max_steps]
                break
        sizes = (len(batch) for _, batch in self._steps)
        self._epochs = [done / len(durations) for done in accumulate(sizes, initial=0)]

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self._steps)

    def __getitem__(self, step: int) -> tuple[int, Batch]:
        """Return (epoch, batch) of the step, counted from 0."""
        return self._steps[step]

    def epochs_after(self, step: int) -> float:
        """Return how many epochs are done after ``step`` batches."""
        return self._epochs[step]


def shares(size: int, parts: int) -> list[Batch]:
    """Return the positions within a batch of ``size`` that each of ``parts`` computes.

    Neighbours, which are of like duration, go to different parts; with fewer utterances than parts
    some stay empty.
    """
    return [list(range(first, size, parts)) for first in range(parts)]
