"""When the learning rate rises and falls, when dev WER is measured, and when training ends.

Everything follows one number, the progress from 0 to 1: the share of the steps done, or of the
minutes allowed, whichever is further. A run cut short by a time limit still ends its cosine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tpactl.formats.run import TrainingSettings
from tpactl.train.batches import Course


@dataclass(frozen=True)
class Schedule:
    """The course of one training.

    Args:
        total_steps: updates when nothing stops it earlier.
        warmup_fraction: of the progress, linear from near zero.
        evaluations: measurements of dev WER, evenly spread, the last at the end.
        max_seconds: a time limit, or ``None``.
    """

    total_steps: int
    warmup_fraction: float
    evaluations: int
    max_seconds: float | None = None

    def progress(self, step: int, seconds: float) -> float:
        """Return the progress, at most 1, after ``step`` updates and so many seconds."""
        share = step / self.total_steps
        if self.max_seconds is not None:
            share = max(share, seconds / self.max_seconds)
        return min(share, 1.0)

    def factor(self, progress: float) -> float:
        """Return the factor on the peak learning rate: linear warm-up, then a cosine to zero."""
        if progress < self.warmup_fraction:
            # Never zero: the first step must move.
            return max(progress, 1 / max(self.total_steps, 2)) / self.warmup_fraction
        rest = (progress - self.warmup_fraction) / max(1 - self.warmup_fraction, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * rest))

    def is_evaluation(self, before: float, after: float) -> bool:
        """Return whether a measurement falls due between two values of the progress."""
        # The small term keeps 3 * (1 / 3) from falling short of 1 in floating point.
        return math.floor(after * self.evaluations + 1e-9) > math.floor(
            before * self.evaluations + 1e-9
        )


def plan_steps(durations: Sequence[float], settings: TrainingSettings) -> tuple[Course, Schedule]:
    """Return the batches of a training and the course of its learning rate and measurements.

    Args:
        durations: seconds of each training utterance.
        settings: fully resolved.
    """
    assert isinstance(settings.batch_s, float | int)
    assert settings.max_epochs is not None
    assert settings.evaluations is not None
    course = Course(
        durations,
        batch_s=settings.batch_s,
        seed=settings.seed,
        max_epochs=settings.max_epochs,
        max_steps=settings.max_steps,
    )
    schedule = Schedule(
        total_steps=len(course),
        warmup_fraction=settings.warmup_fraction,
        evaluations=settings.evaluations,
        max_seconds=settings.max_minutes * 60 if settings.max_minutes else None,
    )
    return course, schedule
