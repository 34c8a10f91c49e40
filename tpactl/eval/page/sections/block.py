"""What a section is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from tpactl.eval.page.plots import DataTable, IntervalPlot, XYPlot


@dataclass(frozen=True)
class Note:
    """A line set apart, in a colour that says how bad it is."""

    text: str
    tone: str = "neutral"


@dataclass(frozen=True)
class TitledTable(DataTable):
    """A table with its caption."""

    title: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class TitledPlot:
    """An interval plot under a heading of its own."""

    title: str
    plot: IntervalPlot


@dataclass
class Block:
    """One section of the page."""

    anchor: str
    title: str
    about: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    intervals: list[TitledPlot] = field(default_factory=list)
    plots: list[XYPlot] = field(default_factory=list)
    tables: list[TitledTable] = field(default_factory=list)
    side_by_side: bool = False
    """Its tables are narrow: as many beside each other as there is room for."""
