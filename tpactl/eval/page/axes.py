"""Where a value lies on an axis, in percent of the plot, and where its marks stand.

Every plot of the page is placed in percent, so it fills whatever width there is while its text and
lines keep their size: the same page suits a phone, a wide screen and paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    """Percent of the axis, from its low end."""
    label: str


@dataclass(frozen=True)
class Axis:
    """A span of values and its marks.

    Attributes:
        low, high: the values at 0 and 100 percent.
        ticks: in ascending order.
        is_log: equal factors are equally far apart.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]
    is_log: bool = False

    def at(self, value: float) -> float:
        """Return where ``value`` lies, in percent; what is beyond an end lies on it."""
        return _place(value, self.low, self.high, self.is_log)


def linear(values: Sequence[float], show: Callable[[float], str], *, most: int = 5) -> Axis:
    """Return an axis from 0 (or below, where a value is) to just above the largest value.

    Args:
        values: what must lie on it.
        show: the label of a mark.
        most: steps between marks, at most.
    """
    low, high = min([0.0, *values]), max([0.0, *values])
    if high == low:
        high = low + 1.0
    step = _step((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = [index * step for index in range(first, last + 1)]
    ticks = tuple(Tick(_place(mark, marks[0], marks[-1], False), show(mark)) for mark in marks)
    return Axis(marks[0], marks[-1], ticks)


def between(values: Sequence[float], show: Callable[[float], str]) -> Axis:
    """Return an axis whose marks are the values themselves, evenly spaced in value."""
    marks = sorted(set(values))
    low, high = marks[0], marks[-1]
    ticks = tuple(Tick(_place(mark, low, high, False), show(mark)) for mark in marks)
    return Axis(low, high, ticks)


def logarithmic(values: Sequence[float], show: Callable[[float], str]) -> Axis:
    """Return an axis over whole powers of ten that holds all ``values``, which are positive."""
    first = math.floor(math.log10(min(values)) + 1e-9)
    last = max(math.ceil(math.log10(max(values)) - 1e-9), first + 1)
    every = max(1, math.ceil((last - first) / 4))
    low, high = 10.0**first, 10.0**last
    marks = [10.0**power for power in range(first, last + 1, every)]
    ticks = tuple(Tick(_place(mark, low, high, True), show(mark)) for mark in marks)
    return Axis(low, high, ticks, is_log=True)


def _place(value: float, low: float, high: float, is_log: bool) -> float:
    if is_log:
        value, low, high = (math.log10(max(part, 1e-12)) for part in (value, low, high))
    if high == low:
        return 50.0
    # Two decimals are finer than a pixel, and keep the page small.
    return round(min(max(100 * (value - low) / (high - low), 0.0), 100.0), 2)


def _step(rough: float) -> float:
    """Return the round number (1, 2, 2.5 or 5 times a power of ten) at or above ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough * 0.999
    )
