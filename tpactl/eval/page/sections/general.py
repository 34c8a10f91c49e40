"""What is lost on general speech."""

from __future__ import annotations

from tpactl.eval.page import axes
from tpactl.eval.page.plots import DataTable, interval_plot
from tpactl.eval.page.sections.block import Block, TitledPlot, TitledTable
from tpactl.eval.page.sections.figures import joined, plain_points, with_interval, with_sign
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.verdict import p_value
from tpactl.eval.page.words import Words
from tpactl.formats.report import rate_of


def general(subject: Subject, t: Words) -> Block | None:
    """Return each system's rate on the general set, and what it lost there."""
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
            change = with_sign(result.degradation, result.low, result.high, t)
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
            list=joined((f"{r.system} {t.points(r.degradation)}" for r in changes), t),
        ),
        axes.linear(spans, plain_points),
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
