"""Error rates under noise, in rooms, by telephone, at other speeds."""

from __future__ import annotations

from tpactl.eval.page import axes
from tpactl.eval.page.plots import DataTable, XYPlot, series
from tpactl.eval.page.sections.block import Block, TitledTable
from tpactl.eval.page.sections.figures import joined, rate_named, with_interval
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words
from tpactl.formats.report import StressPoint


def stress(subject: Subject, t: Words) -> Block | None:
    """Return a plot and a table for each kind of disturbance."""
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
            *(with_interval(rate_named(point.results, name, subject), t) for name in systems),
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
            (point.level or 0.0, rate_named(point.results, system.name, subject).rate)
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
    listed = joined(
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
