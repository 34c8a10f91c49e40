"""Error rates of the systems, and each against those that count."""

from __future__ import annotations

from tpactl.eval.page.plots import DataTable, interval_plot
from tpactl.eval.page.sections.block import Block, TitledPlot, TitledTable
from tpactl.eval.page.sections.figures import (
    joined,
    rate_axis,
    true_minus,
    with_interval,
    with_sign,
)
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.verdict import p_value, shown_probability
from tpactl.eval.page.words import Words


def rates(subject: Subject, t: Words) -> Block:
    """Return every system's rate with its interval."""
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
            list=joined(
                (
                    t("rates_item", system=system.name, rate=with_interval(rate, t))
                    for system, rate in zip(systems, rates, strict=True)
                ),
                t,
            ),
        ),
        rate_axis(rates, t),
        t("rates_axis", metric=short),
        [
            (s.name, subject.style(s.name), r.rate, r.low, r.high, with_interval(r, t), "")
            for s, r in zip(systems, rates, strict=True)
        ],
        DataTable(columns, rows),
    )
    return Block("rates", t("rates"), [t("rates_about")], intervals=[TitledPlot("", plot)])


def comparisons(subject: Subject, t: Words) -> Block | None:
    """Return the paired tests; ``None`` where there are none."""
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
                with_sign(made.difference, made.low, made.high, t),
                none if made.relative is None else true_minus(f"{100 * made.relative:+.0f}%"),
                none if probability is None else shown_probability(probability, t),
                none if made.p_value is None else p_value(made.p_value),
                p_value(made.mapsswe.p_value),
            ]
        )
    columns = [t("system"), t("against"), t("difference"), t("relative"), t("probability"),
               t("p_bootstrap"), t("p_mapsswe")]  # fmt: skip
    table = TitledTable(columns, rows, 2)
    return Block("comparisons", t("comparisons"), [t("comparisons_about")], tables=[table])
