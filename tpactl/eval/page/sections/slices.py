"""Error rates by slices of the test set."""

from __future__ import annotations

from dataclasses import replace

from tpactl.eval.page.plots import DataTable, IntervalPlot, interval_plot
from tpactl.eval.page.sections.block import Block, Note, TitledPlot
from tpactl.eval.page.sections.figures import joined, rate_axis, rate_named, with_interval
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.verdict import column_name
from tpactl.eval.page.words import Words
from tpactl.formats.report import Slicing

MOST_SLICES = 12
"""Drawn for one column; the table holds all."""


def slices(subject: Subject, t: Words) -> Block | None:
    """Return a plot and a table for each column that was sliced by."""
    if not subject.report.slicings:
        return None
    about = t("slices_about", system=subject.system.name, base=subject.base.name)
    block = Block("slices", t("slices"), [about])
    for slicing in subject.report.slicings:
        if not slicing.slices:
            continue
        name = column_name(slicing, t)
        block.intervals.append(TitledPlot(name, _slicing(subject, slicing, name, t)))
        if len(slicing.slices) > MOST_SLICES:
            text = t("slices_more", shown=MOST_SLICES, n=len(slicing.slices))
            block.notes.append(Note(f"{name}: {text}"))
        if slicing.without_value:
            block.notes.append(Note(t("slices_without", n=slicing.without_value, column=name)))
    return block


def _slicing(subject: Subject, slicing: Slicing, name: str, t: Words) -> IntervalPlot:
    metric = t(f"metric_{subject.report.metric}")
    mine = {
        part.value: rate_named(part.results, subject.system.name, subject)
        for part in slicing.slices
    }
    before = {
        part.value: rate_named(part.results, subject.base.name, subject) for part in slicing.slices
    }
    ordered = sorted(slicing.slices, key=lambda part: -mine[part.value].rate)
    shown = ordered[:MOST_SLICES]
    axis = rate_axis([rates[part.value] for part in shown for rates in (mine, before)], t)
    columns = [name, t("recordings"), t("speakers"), *(s.name for s in subject.report.systems)]
    none = t("not_available")
    rows = [
        [
            part.value,
            f"{part.utterances:,}",
            none if part.speakers is None else str(part.speakers),
            *(
                with_interval(rate_named(part.results, system.name, subject), t)
                for system in subject.report.systems
            ),
        ]
        for part in ordered
    ]
    plot = interval_plot(
        t(
            "slices_label",
            metric=metric,
            system=subject.system.name,
            column=name,
            list=joined((f"{p.value} {t.percent(mine[p.value].rate)}" for p in shown), t),
        ),
        axis,
        t("rates_axis", metric=t(f"short_{subject.report.metric}")),
        [
            (
                part.value,
                1 if not subject.is_base else 0,
                mine[part.value].rate,
                mine[part.value].low,
                mine[part.value].high,
                t.percent(mine[part.value].rate),
                t("slice_size", n=part.utterances),
            )
            for part in shown
        ],
        DataTable(columns, rows),
    )
    if subject.is_base:
        return plot
    bars = [replace(bar, beside=((0, axis.at(before[bar.name].rate)),)) for bar in plot.bars]
    return replace(plot, bars=bars)
