"""The page's sections, each from one part of the report; a part that was not measured has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tpactl.eval.page import axes
from tpactl.eval.page.alignment import most_common
from tpactl.eval.page.heard import Survey
from tpactl.eval.page.plots import DataTable, IntervalPlot, XYPlot, interval_plot, series
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.verdict import column_name, p_value, shown_probability
from tpactl.eval.page.words import Words
from tpactl.formats.gate import GateRecord, RuleResult
from tpactl.formats.report import (
    Costs,
    Rate,
    Slicing,
    StressPoint,
    SystemRates,
    SystemResult,
    TermResult,
    rate_of,
)

MOST_SLICES = 12
"""Drawn for one column; the table holds all."""
MOST_TERMS = 30
MOST_CONFUSIONS = 15
MOST_WORDS = 8

T = TypeVar("T")


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


def blocks(subject: Subject, survey: Survey, decision: GateRecord | None, t: Words) -> list[Block]:
    """Return the sections that this report has, in the order of the page."""
    made = (
        _gate(decision, t),
        _rates(subject, t),
        _comparisons(subject, t),
        _slices(subject, t),
        _general(subject, t),
        _terms(subject, t),
        _stress(subject, t),
        _costs(subject, t),
        _training(subject, t),
        _confusions(subject, survey, t),
    )
    return [block for block in made if block is not None]


def with_interval(rate: Rate, t: Words) -> str:
    """Return a rate in percent with its interval, where there is one."""
    shown = t.percent(rate.rate)
    if rate.low is None or rate.high is None:
        return shown
    return t(
        "rate_interval", rate=shown, low=f"{100 * rate.low:.1f}", high=f"{100 * rate.high:.1f}"
    )


def _gate(decision: GateRecord | None, t: Words) -> Block | None:
    if decision is None:
        return None
    name, failed = decision.system.name, len(decision.failed)
    note = Note(t("gate_passed", system=name), "good")
    if failed:
        note = Note(t("gate_failed", system=name, n=failed), "bad")
    rows = [
        [
            t(f"gate_rule_{result.rule.replace('.', '_')}"),
            t("gate_pass" if result.passed else "gate_fail"),
            t("gate_unmeasured")
            if result.measured is None
            else _in_unit(result, result.measured, t),
            t(f"gate_{result.bound}", limit=_in_unit(result, result.limit, t)),
        ]
        for result in decision.rules
    ]
    columns = [t("gate_rule"), t("gate_result"), t("gate_measured"), t("gate_limit")]
    about = t("gate_about", file=decision.policy.file, digest=decision.policy.digest[:19])
    return Block("gate", t("gate"), [about], [note], tables=[TitledTable(columns, rows, 2)])


def _in_unit(result: RuleResult, value: float, t: Words) -> str:
    match result.unit:
        case "share":
            return t.percent(value)
        case "points":
            return t.points(value)
        case "hours":
            return t.duration(3600 * value)
        case "megabytes":
            return t.size(1e6 * value)
        case "factor":
            return f"{value:.3g}"
        case _:
            return f"{value:.0f}"


def _rates(subject: Subject, t: Words) -> Block:
    report = subject.report
    metric, short = t(f"metric_{report.metric}"), t(f"short_{report.metric}")
    systems = report.systems
    rates = [subject.rate(system) for system in systems]
    columns = [t("system"), t("short_wer"), t("short_cer"), t("substitutions"), t("deletions"),
               t("insertions"), t(f"length_{report.metric}"), t("raw")]  # fmt: skip
    rows = []
    for system in systems:
        counts = subject.rate(system)
        rows.append(
            [
                system.name,
                with_interval(system.wer, t),
                with_interval(system.cer, t),
                *(f"{n:,}" for n in (counts.substitutions, counts.deletions, counts.insertions)),
                f"{counts.reference_length:,}",
                with_interval(system.raw_wer, t),
            ]
        )
    plot = interval_plot(
        t(
            "rates_label",
            metric=metric,
            n=len(systems),
            list=_listed(
                (
                    t("rates_item", system=system.name, rate=with_interval(rate, t))
                    for system, rate in zip(systems, rates, strict=True)
                ),
                t,
            ),
        ),
        _rate_axis(rates, t),
        t("rates_axis", metric=short),
        [
            (s.name, subject.style(s.name), r.rate, r.low, r.high, with_interval(r, t), "")
            for s, r in zip(systems, rates, strict=True)
        ],
        DataTable(columns, rows),
    )
    return Block("rates", t("rates"), [t("rates_about")], intervals=[TitledPlot("", plot)])


def _comparisons(subject: Subject, t: Words) -> Block | None:
    if not subject.report.comparisons:
        return None
    none = t("not_available")
    rows = []
    for made in subject.report.comparisons:
        probability = made.probability_of_improvement
        rows.append(
            [
                made.system,
                made.against,
                _signed(made.difference, made.low, made.high, t),
                none if made.relative is None else _minus(f"{100 * made.relative:+.0f}%"),
                none if probability is None else shown_probability(probability, t),
                none if made.p_value is None else p_value(made.p_value),
                p_value(made.mapsswe.p_value),
            ]
        )
    columns = [t("system"), t("against"), t("difference"), t("relative"), t("probability"),
               t("p_bootstrap"), t("p_mapsswe")]  # fmt: skip
    table = TitledTable(columns, rows, 2)
    return Block("comparisons", t("comparisons"), [t("comparisons_about")], tables=[table])


def _slices(subject: Subject, t: Words) -> Block | None:
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
        part.value: _rate_of(part.results, subject.system.name, subject) for part in slicing.slices
    }
    before = {
        part.value: _rate_of(part.results, subject.base.name, subject) for part in slicing.slices
    }
    ordered = sorted(slicing.slices, key=lambda part: -mine[part.value].rate)
    shown = ordered[:MOST_SLICES]
    axis = _rate_axis([rates[part.value] for part in shown for rates in (mine, before)], t)
    columns = [name, t("recordings"), t("speakers"), *(s.name for s in subject.report.systems)]
    none = t("not_available")
    rows = [
        [
            part.value,
            f"{part.utterances:,}",
            none if part.speakers is None else str(part.speakers),
            *(
                with_interval(_rate_of(part.results, system.name, subject), t)
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
            list=_listed((f"{p.value} {t.percent(mine[p.value].rate)}" for p in shown), t),
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


def _general(subject: Subject, t: Words) -> Block | None:
    general = subject.report.general
    if general is None:
        return None
    changes = [r for r in general.results if r.system != subject.base.name]
    spans = [
        value
        for result in changes
        for value in (result.degradation, result.low, result.high)
        if value is not None
    ]
    rows = []
    for result in general.results:
        rate = rate_of(result, general.metric)
        change = t("not_available")
        if result.system != subject.base.name:
            change = _signed(result.degradation, result.low, result.high, t)
        p = t("not_available") if result.p_value is None else p_value(result.p_value)
        rows.append([result.system, with_interval(rate, t), change, p])
    columns = [t("system"), t("general_rate"), t("change"), t("p_bootstrap")]
    table = DataTable(columns, rows)
    about = [t("general_about", duration=t.duration(general.duration_s))]
    if not changes:
        return Block("general", t("general"), about, tables=[TitledTable(columns, rows)])
    short = t(f"short_{general.metric}")
    plot = interval_plot(
        t(
            "general_label",
            list=_listed((f"{r.system} {t.points(r.degradation)}" for r in changes), t),
        ),
        axes.linear(spans, _plain_points),
        t("general_axis", metric=short),
        [
            (
                r.system,
                subject.style(r.system),
                r.degradation,
                r.low,
                r.high,
                t.points(r.degradation),
                "",
            )
            for r in changes
        ],
        table,
    )
    return Block("general", t("general"), about, intervals=[TitledPlot("", plot)])


def _terms(subject: Subject, t: Words) -> Block | None:
    glossary = subject.report.glossary
    if glossary is None:
        return None
    none = t("not_available")
    names = [subject.system.name]
    if not subject.is_base:
        names.append(subject.base.name)

    def share(value: float | None) -> str:
        return none if value is None else t.percent(value, 0)

    def row(term: str, results: list[TermResult]) -> list[str]:
        by_system = {result.system: result for result in results}
        mine = by_system[names[0]]
        return [
            term,
            str(mine.in_reference),
            *(share(by_system[name].recall) for name in names),
            *(share(by_system[name].precision) for name in names),
        ]

    def recall(results: list[TermResult]) -> float:
        found = next(r.recall for r in results if r.system == names[0])
        return 2.0 if found is None else found

    ordered = sorted(glossary.terms, key=lambda term: recall(term.results))
    columns = [
        t("term"),
        t("said"),
        *(t("recall_of", system=name) for name in names),
        *(t("precision_of", system=name) for name in names),
    ]
    rows = [row(t("all_terms"), glossary.total)]
    rows += [row(term.term, term.results) for term in ordered[:MOST_TERMS]]
    block = Block("terms", t("terms"), [t("terms_about")], tables=[TitledTable(columns, rows)])
    if len(ordered) > MOST_TERMS:
        block.notes.append(Note(t("terms_more", shown=MOST_TERMS, n=len(ordered))))
    heard = [result for result in glossary.total if result.recall is not None]
    if heard:
        summary = [[r.system, str(r.in_reference), share(r.recall), share(r.precision)]
                   for r in glossary.total]  # fmt: skip
        plot = interval_plot(
            t("terms_label", list=_listed((f"{r.system} {share(r.recall)}" for r in heard), t)),
            axes.linear([1.0], lambda value: t.percent(value, 0)),
            t("terms_axis"),
            [
                (
                    r.system,
                    subject.style(r.system),
                    r.recall or 0.0,
                    None,
                    None,
                    share(r.recall),
                    "",
                )
                for r in heard
            ],
            DataTable(
                [
                    t("system"),
                    t("said"),
                    t("recall_of", system=t("all_terms")),
                    t("precision_of", system=t("all_terms")),
                ],
                summary,
            ),
        )
        block.intervals.append(TitledPlot("", plot))
    return block


def _stress(subject: Subject, t: Words) -> Block | None:
    stress = subject.report.stress
    if stress is None or not stress.points:
        return None
    report = subject.report
    systems = [system.name for system in report.systems]
    plots = []
    for kind, undisturbed in (("noise", None), ("reverberation", 0.0), ("speed", 1.0)):
        points = [p for p in stress.points if p.kind == kind and p.level is not None]
        if points:
            plots.append(_stress_plot(subject, kind, points, undisturbed, t))
    columns = [t("condition"), *systems]
    rows = [[t("undisturbed"), *(with_interval(subject.rate(s), t) for s in report.systems)]]
    rows += [
        [
            _condition(point, t),
            *(with_interval(_rate_of(point.results, name, subject), t) for name in systems),
        ]
        for point in stress.points
    ]
    return Block(
        "stress",
        t("stress"),
        [t("stress_about", duration=t.duration(stress.duration_s))],
        plots=plots,
        tables=[TitledTable(columns, rows, title=t("stress_table"))],
    )


def _condition(point: StressPoint, t: Words) -> str:
    name = t(f"stress_{point.kind}")
    unit = {"noise": " dB", "reverberation": " s", "speed": "×", "telephone": ""}[point.kind]
    return name if point.level is None else f"{name} {point.level:g}{unit}"


def _stress_plot(
    subject: Subject, kind: str, points: list[StressPoint], undisturbed: float | None, t: Words
) -> XYPlot:
    report = subject.report
    lines: dict[str, list[tuple[float, float]]] = {}
    for system in report.systems:
        line = [
            (point.level or 0.0, _rate_of(point.results, system.name, subject).rate)
            for point in points
        ]
        if undisturbed is not None and all(level != undisturbed for level, _ in line):
            line.append((undisturbed, subject.rate(system).rate))
        lines[system.name] = sorted(line)
    x = axes.between([level for line in lines.values() for level, _ in line], lambda v: f"{v:g}")
    y = axes.linear(
        [rate for line in lines.values() for _, rate in line], lambda v: t.percent(v, 0)
    )
    first = next(iter(lines.values()))
    table = DataTable(
        [t(f"x_{kind}"), *lines],
        [
            [f"{level:g}", *(t.percent(line[index][1]) for line in lines.values())]
            for index, (level, _) in enumerate(first)
        ],
    )
    listed = _listed(
        (
            t(
                "stress_item",
                system=name,
                first=t.percent(line[0][1]),
                last=t.percent(line[-1][1]),
            )
            for name, line in lines.items()
        ),
        t,
    )
    return XYPlot(
        t(f"stress_{kind}"),
        t(
            "stress_label",
            metric=t(f"metric_{report.metric}"),
            kind=t(f"stress_{kind}"),
            list=listed,
        ),
        x,
        y,
        t(f"x_{kind}"),
        t(f"short_{report.metric}"),
        [series(name, subject.style(name), line, x, y) for name, line in lines.items()],
        table,
    )


def _costs(subject: Subject, t: Words) -> Block | None:
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
    listed = _listed(
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
            _speed(system.real_time_factor, t),
        ]
        for system in systems
    ]
    columns = [t("system"), t("trained_parameters"), t("to_store"), t("to_train"),
               t("train_memory"), t("speed")]  # fmt: skip
    return TitledTable(columns, rows)


def _cost_table(costs: Costs, t: Words) -> TitledTable:
    currency = costs.prices.currency
    cells = [
        (t("trained_parameters"), [_given(c.trained_parameters, "{:,}", t) for c in costs.systems]),
        (t("to_store"), [_shown(c.size_bytes, t.size, t) for c in costs.systems]),
        (t("to_train"), [_shown(c.train_seconds, t.duration, t) for c in costs.systems]),
        (t("train_memory"), [_shown(c.train_memory_bytes, t.size, t) for c in costs.systems]),
        (t("speed"), [_speed(c.real_time_factor, t) for c in costs.systems]),
        (t("speed_single"), [_speed(c.real_time_factor_single, t) for c in costs.systems]),
        (t("inference_memory"), [_shown(c.inference_memory_bytes, t.size, t)
                                 for c in costs.systems]),
        (t("money_train", currency=currency), [_given(c.train_money, "{:,.2f}", t)
                                               for c in costs.systems]),
        (t("money_hour", currency=currency), [_given(c.money_per_audio_hour, "{:,.4f}", t)
                                              for c in costs.systems]),
        (t("energy_train"), [_given(c.train_kwh, "{:,.3f}", t) for c in costs.systems]),
    ]  # fmt: skip
    return _table_of([c.system for c in costs.systems], cells, "", t)


def _projection_table(costs: Costs, t: Words) -> list[TitledTable]:
    projected = [(c.system, c.projection) for c in costs.systems if c.projection is not None]
    if not projected:
        return []
    parts = [projection for _, projection in projected]
    cells = [
        (t("stored_in_all"), [t.size(p.stored_bytes) for p in parts]),
        (t("trained_in_all"), [_shown(p.train_seconds, t.duration, t) for p in parts]),
        (t("money_in_all", currency=costs.prices.currency), [_given(p.train_money, "{:,.2f}", t)
                                                             for p in parts]),
        (t("energy_in_all"), [_given(p.train_kwh, "{:,.2f}", t) for p in parts]),
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


def _training(subject: Subject, t: Words) -> Block | None:
    trained = [system for system in subject.report.systems if system.curve]
    if not trained:
        return None
    lines = {s.name: [(point.seconds / 60, point.dev_wer) for point in s.curve] for s in trained}
    every = [point for line in lines.values() for point in line]
    x = axes.linear([minutes for minutes, _ in every], lambda value: f"{value:g}")
    y = axes.linear([rate for _, rate in every], lambda value: t.percent(value, 0))
    rows = [
        [system.name, str(point.step), t.duration(point.seconds), t.percent(point.dev_wer)]
        for system in trained
        for point in system.curve
    ]
    listed = _listed(
        (
            t("stress_item", system=n, first=t.percent(c[0][1]), last=t.percent(c[-1][1]))
            for n, c in lines.items()
        ),
        t,
    )
    plot = XYPlot(
        t("training_title"),
        t("training_label", list=listed),
        x,
        y,
        t("x_minutes"),
        t("y_dev"),
        [series(name, subject.style(name), line, x, y) for name, line in lines.items()],
        DataTable([t("system"), t("step"), t("time"), t("y_dev")], rows),
    )
    return Block("training", t("training"), [t("training_about")], plots=[plot])


def _confusions(subject: Subject, survey: Survey, t: Words) -> Block | None:
    mine = survey.confusions.get(subject.system.name)
    base = survey.confusions.get(subject.base.name)
    if mine is None or base is None:
        return None
    own = [] if subject.is_base else [subject.base.name]
    names = [subject.system.name, *own]

    def counts(key: T, mine_of: Counter[T], base_of: Counter[T]) -> list[str]:
        return [str(mine_of[key]), *(str(base_of[key]) for _ in own)]

    tables = []
    pairs = most_common(mine.substitutions, MOST_CONFUSIONS)
    if pairs:
        rows = [
            [said, heard, *counts((said, heard), mine.substitutions, base.substitutions)]
            for (said, heard), _ in pairs
        ]
        tables.append(
            TitledTable([t("reference"), t("heard"), *names], rows, 2, title=t("confusions_table"))
        )
    for title, heading, of_mine, of_base in (
        (t("deletions_table"), t("reference"), mine.deletions, base.deletions),
        (t("insertions_table"), t("heard"), mine.insertions, base.insertions),
    ):
        words = sorted(of_mine.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]
        if words:
            rows = [[word, *counts(word, of_mine, of_base)] for word, _ in words]
            tables.append(TitledTable([heading, *names], rows, title=title))
    if not tables:
        return None
    about = t("confusions_about", system=subject.system.name, base=subject.base.name)
    return Block("confusions", t("confusions"), [about], tables=tables, side_by_side=True)


def _rate_of(results: Sequence[SystemRates], name: str, subject: Subject) -> Rate:
    found = next(result for result in results if result.system == name)
    return rate_of(found, subject.report.metric)


def _rate_axis(rates: Iterable[Rate], t: Words) -> axes.Axis:
    values = [
        value for rate in rates for value in (rate.rate, rate.low, rate.high) if value is not None
    ]
    return axes.linear(values, lambda value: t.percent(value, 0))


def _signed(value: float, low: float | None, high: float | None, t: Words) -> str:
    shown = t.points(value)
    if low is None or high is None:
        return shown
    return t(
        "signed_interval",
        value=shown,
        low=_minus(f"{100 * low:+.1f}"),
        high=_minus(f"{100 * high:+.1f}"),
    )


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _plain_points(value: float) -> str:
    return _minus(f"{100 * value:+.3g}") if value else "0"


def _speed(real_time_factor: float | None, t: Words) -> str:
    if not real_time_factor:
        return t("not_available")
    return t("times_real_time", factor=f"{1 / real_time_factor:.3g}")


def _shown(value: float | None, show: Callable[[float], str], t: Words) -> str:
    return t("not_available") if value is None else show(value)


def _given(value: float | None, form: str, t: Words) -> str:
    return t("not_available") if value is None else form.format(value)


def _listed(parts: Iterable[str], t: Words) -> str:
    return t("and").join(parts)
