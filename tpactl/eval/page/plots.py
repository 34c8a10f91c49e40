"""The page's three kinds of plot, as positions in percent, each with the table behind it.

``templates/plots.html`` draws them. Colours and marks are numbers there: 0 is the base, 1 the
system that the page is about, the rest follow the order of the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tpactl.eval.page.axes import Axis

STYLES = 8
"""Colours and marks there are; a ninth system wears the third one's again."""


@dataclass(frozen=True)
class DataTable:
    """The figures of a plot; the first column names each row."""

    columns: list[str]
    rows: list[list[str]]
    text_columns: int = 1
    """So many, from the left, hold words rather than figures."""


@dataclass(frozen=True)
class Bar:
    """One row of an interval plot: a point, and its interval where there is one."""

    name: str
    style: int
    at: float
    low: float | None
    high: float | None
    shown: str
    note: str = ""
    beside: tuple[tuple[int, float], ...] = ()
    """Other systems' points on the same line: style and place."""


@dataclass(frozen=True)
class IntervalPlot:
    """Values below each other on one axis; what a screen reader says stands in ``label``."""

    label: str
    axis: Axis
    axis_title: str
    bars: list[Bar]
    table: DataTable


@dataclass(frozen=True)
class Series:
    """One line, or with ``joined`` unset one cloud of points, in percent of the plot."""

    name: str
    style: int
    points: list[tuple[float, float]]
    joined: bool = True
    marked: bool = True

    @property
    def path(self) -> str:
        """The points as an SVG polyline, whose y grows downwards."""
        return " ".join(f"{x:g},{100 - y:g}" for x, y in self.points)


@dataclass(frozen=True)
class XYPlot:
    """Lines or points over two axes."""

    title: str
    label: str
    x: Axis
    y: Axis
    x_title: str
    y_title: str
    series: list[Series]
    table: DataTable
    level: tuple[float, str] | None = None
    """A horizontal line across the plot (percent of y) and what it is."""


def interval_plot(
    label: str,
    axis: Axis,
    axis_title: str,
    bars: Sequence[tuple[str, int, float, float | None, float | None, str, str]],
    table: DataTable,
) -> IntervalPlot:
    """Return an interval plot of (name, style, value, low, high, shown, note)."""
    return IntervalPlot(
        label,
        axis,
        axis_title,
        [
            Bar(
                name,
                style,
                axis.at(value),
                None if low is None else axis.at(low),
                None if high is None else axis.at(high),
                shown,
                note,
            )
            for name, style, value, low, high, shown, note in bars
        ],
        table,
    )


def series(
    name: str,
    style: int,
    points: Sequence[tuple[float, float]],
    x: Axis,
    y: Axis,
    *,
    joined: bool = True,
    marked: bool = True,
) -> Series:
    """Return a line whose points are values on the two axes."""
    placed = [(x.at(across), y.at(up)) for across, up in points]
    return Series(name, style, placed, joined, marked)
