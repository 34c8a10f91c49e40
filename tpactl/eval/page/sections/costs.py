"""What the systems cost: parameters, bytes, seconds, money."""

from __future__ import annotations

from collections.abc import Sequence

from tpactl.eval.page import axes
from tpactl.eval.page.plots import DataTable, XYPlot, series
from tpactl.eval.page.sections.block import Block, TitledTable
from tpactl.eval.page.sections.figures import (
    formatted,
    joined,
    shown_or_not,
    times_real_time,
    with_interval,
)
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words
from tpactl.formats.report import Costs, SystemResult


def costs(subject: Subject, t: Words) -> Block | None:
    """Return size against quality, the costs, and what they are for N departments."""
    report = subject.report
    trained = [system for system in report.systems if system.size_bytes]
    if not trained:
        return None
    block = Block("costs", t("costs"), [t("costs_about")])
    block.plots = [_size_plot(subject, trained, t)]
    if report.costs is not None:
        block.tables = [_cost_table(report.costs, t), *_projection_table(report.costs, t)]
    else:
        block.tables = [_plain_cost_table(report.systems, t)]
    return block


def _size_plot(subject: Subject, trained: list[SystemResult], t: Words) -> XYPlot:
    sizes = [float(system.size_bytes or 1) for system in trained]
    base_rate = subject.rate(subject.base).rate
    x = axes.logarithmic(sizes, lambda value: t.size(value).replace(".0 ", " "))
    rates = [subject.rate(system).rate for system in trained]
    y = axes.linear([base_rate, *rates], lambda value: t.percent(value, 0))
    rows = [[system.name, t.size(size), with_interval(subject.rate(system), t)]
            for system, size in zip(trained, sizes, strict=True)]  # fmt: skip
    listed = joined(
        (
            t("costs_item", system=system.name, size=t.size(size), rate=t.percent(rate))
            for system, size, rate in zip(trained, sizes, rates, strict=True)
        ),
        t,
    )
    metric = t(f"metric_{subject.report.metric}")
    return XYPlot(
        t("costs_title"),
        t("costs_label", metric=metric, list=listed),
        x,
        y,
        t("x_size"),
        t(f"short_{subject.report.metric}"),
        [
            series(s.name, subject.style(s.name), [(size, rate)], x, y, joined=False)
            for s, size, rate in zip(trained, sizes, rates, strict=True)
        ],
        DataTable([t("system"), t("to_store"), t(f"short_{subject.report.metric}")], rows),
        level=(y.at(base_rate), t("base_level", base=subject.base.name)),
    )


def _plain_cost_table(systems: Sequence[SystemResult], t: Words) -> TitledTable:
    none = t("not_available")
    rows = [
        [
            system.name,
            none if system.trained_parameters is None else f"{system.trained_parameters:,}",
            none if system.size_bytes is None else t.size(system.size_bytes),
            none if system.train_seconds is None else t.duration(system.train_seconds),
            none if system.peak_memory_bytes is None else t.size(system.peak_memory_bytes),
            times_real_time(system.real_time_factor, t),
        ]
        for system in systems
    ]
    columns = [t("system"), t("trained_parameters"), t("to_store"), t("to_train"),
               t("train_memory"), t("speed")]  # fmt: skip
    return TitledTable(columns, rows)


def _cost_table(costs: Costs, t: Words) -> TitledTable:
    currency = costs.prices.currency
    cells = [
        (
            t("trained_parameters"),
            [formatted(c.trained_parameters, "{:,}", t) for c in costs.systems],
        ),
        (t("to_store"), [shown_or_not(c.size_bytes, t.size, t) for c in costs.systems]),
        (t("to_train"), [shown_or_not(c.train_seconds, t.duration, t) for c in costs.systems]),
        (t("train_memory"), [shown_or_not(c.train_memory_bytes, t.size, t) for c in costs.systems]),
        (t("speed"), [times_real_time(c.real_time_factor, t) for c in costs.systems]),
        (t("speed_single"), [times_real_time(c.real_time_factor_single, t) for c in costs.systems]),
        (t("inference_memory"), [shown_or_not(c.inference_memory_bytes, t.size, t)
                                 for c in costs.systems]),
        (t("money_train", currency=currency), [formatted(c.train_money, "{:,.2f}", t)
                                               for c in costs.systems]),
        (t("money_hour", currency=currency), [formatted(c.money_per_audio_hour, "{:,.4f}", t)
                                              for c in costs.systems]),
        (t("energy_train"), [formatted(c.train_kwh, "{:,.3f}", t) for c in costs.systems]),
    ]  # fmt: skip
    return _table_of([c.system for c in costs.systems], cells, "", t)


def _projection_table(costs: Costs, t: Words) -> list[TitledTable]:
    projected = [(c.system, c.projection) for c in costs.systems if c.projection is not None]
    if not projected:
        return []
    parts = [projection for _, projection in projected]
    cells = [
        (t("stored_in_all"), [t.size(p.stored_bytes) for p in parts]),
        (t("trained_in_all"), [shown_or_not(p.train_seconds, t.duration, t) for p in parts]),
        (t("money_in_all", currency=costs.prices.currency), [formatted(p.train_money, "{:,.2f}", t)
                                                             for p in parts]),
        (t("energy_in_all"), [formatted(p.train_kwh, "{:,.2f}", t) for p in parts]),
    ]  # fmt: skip
    title = t("projection", departments=costs.departments)
    return [_table_of([name for name, _ in projected], cells, title, t)]


def _table_of(
    names: list[str], cells: list[tuple[str, list[str]]], title: str, t: Words
) -> TitledTable:
    """Return a table with a row for each cost that any system has a figure of."""
    none = t("not_available")
    rows = [[name, *figures] for name, figures in cells if any(cell != none for cell in figures)]
    return TitledTable([t("cost"), *names], rows, title=title)
