"""The few shapes that a training's batches are padded to, so that each is captured only once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CAPTURE_STEPS = 10
"""Steps that could be replayed in the time a shape takes to be captured. Many shapes save padding
only where many steps follow."""


@dataclass(frozen=True)
class Shape:
    """A batch's."""

    rows: int
    frames: int
    """What the model is given: feature frames, or frames of a cached prefix."""

    @property
    def area(self) -> int:
        """Frames in all, which the time of a step grows with."""
        return self.rows * self.frames

    def holds(self, rows: int, frames: int) -> bool:
        """Return whether a batch can be padded to it."""
        return rows <= self.rows and frames <= self.frames


def plan_shapes(
    batches: Iterable[tuple[int, int]], most: int, capture_steps: int = CAPTURE_STEPS
) -> list[Shape]:
    """Return at most ``most`` shapes that hold all batches in the least time, captures included.

    Args:
        batches: (rows, frames) of each batch, frames rounded up to what a shape may have.
        most: shapes.
        capture_steps: what each shape costs, in steps of its own.

    Returns:
        Shapes of increasing length. Exact, where time grows with frames: a dynamic program over
        the lengths that occur.
    """
    rows: dict[int, int] = {}
    counts: dict[int, int] = {}
    for num_rows, frames in batches:
        rows[frames] = max(rows.get(frames, 0), num_rows)
        counts[frames] = counts.get(frames, 0) + 1
    lengths = sorted(counts)
    # cheapest[n]: (area computed, where the last shape begins) for the n shortest lengths.
    none: tuple[float, list[int]] = (float("inf"), [])
    cheapest = [(0.0, list[int]()), *(none for _ in lengths)]
    for _ in range(most):
        following = list(cheapest)
        for end in range(1, len(lengths) + 1):
            widest, batches_in = 0, 0
            for begin in range(end - 1, -1, -1):
                widest = max(widest, rows[lengths[begin]])
                batches_in += counts[lengths[begin]]
                computed = widest * lengths[end - 1] * (batches_in + capture_steps)
                area = cheapest[begin][0] + computed
                if area < following[end][0]:
                    following[end] = (area, [*cheapest[begin][1], begin])
        cheapest = following
    begins = cheapest[-1][1]
    ends = [*begins[1:], len(lengths)]
    return [
        Shape(max(rows[length] for length in lengths[begin:end]), lengths[end - 1])
        for begin, end in zip(begins, ends, strict=False)
    ]
