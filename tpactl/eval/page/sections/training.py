"""How the trainings went."""

from __future__ import annotations

from tpactl.eval.page import axes
from tpactl.eval.page.plots import DataTable, XYPlot, series
from tpactl.eval.page.sections.block import Block
from tpactl.eval.page.sections.figures import joined
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words


def training(subject: Subject, t: Words) -> Block | None:
    """Return the training curves of the systems that have one."""
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
    listed = joined(
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
