"""The answer in plain words: is it better, by how much, how sure, what it broke, what it costs.

Every sentence rests on a figure of the report, and says so where the figure was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tpactl.eval.leaks import is_slight
from tpactl.eval.page.heard import Survey
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words
from tpactl.formats.report import Comparison, Slicing, SystemResult

Tone = Literal["good", "bad", "unsure", "neutral"]

MARKED_LOSS = 0.01
"""A loss on the general set from this many points on is called forgetting."""


@dataclass(frozen=True)
class Verdict:
    """One sentence, its reason, and the colour of both."""

    title: str
    text: str
    tone: Tone


@dataclass(frozen=True)
class Tile:
    """One figure in large type."""

    what: str
    figure: str
    before: str = ""
    note: str = ""


@dataclass
class Answer:
    """A question of the board, and what the report says to it."""

    question: str
    sentences: list[str] = field(default_factory=list)


def verdict(subject: Subject, t: Words) -> Verdict:
    """Return the headline."""
    name = subject.system.name
    if subject.is_base:
        text = _wrong(subject, subject.base, t)
        return Verdict(t("verdict_base_only", system=name), text, "neutral")
    today = subject.named(subject.report.incumbent)
    if today is None or today.name == name:
        today = subject.base
    text = _two(subject, today, t)
    comparison = subject.against("base" if today is subject.base else "incumbent")
    difference = subject.rate(subject.system).rate - subject.rate(today).rate
    values = {"system": name, "other": today.name}
    if any(
        leak.system == name and leak.data == "test" and not is_slight(leak, subject.report)
        for leak in subject.report.leaks
    ):
        return Verdict(
            t("verdict_leak", **values), t.together(text, t("verdict_leak_why")), "unsure"
        )
    if comparison is None or comparison.low is None or comparison.high is None:
        key = "verdict_fewer" if difference < 0 else "verdict_not_fewer"
        why = t("why_too_few") if comparison is not None else t("why_no_test")
        return Verdict(t(key, **values), t.together(text, why), "unsure")
    if _leaves_out_zero(comparison.low, comparison.high):
        key, tone = ("verdict_better", "good") if difference < 0 else ("verdict_worse", "bad")
        return Verdict(t(key, **values), text, "good" if tone == "good" else "bad")
    key = "verdict_maybe" if difference < 0 else "verdict_no"
    return Verdict(t(key, **values), t.together(text, t("why_unsure")), "unsure")


def _leaves_out_zero(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and (low > 0 or high < 0)


def tiles(subject: Subject, t: Words) -> list[Tile]:
    """Return the figures that a reader takes away, at most four."""
    system, base = subject.system, subject.base
    rate = subject.rate(system)
    metric = t(f"metric_{subject.report.metric}")
    if subject.is_base:
        return [Tile(metric, t.percent(rate.rate), note=_interval(rate.low, rate.high, t))]
    found = [
        Tile(
            metric,
            t.percent(rate.rate),
            before=t.percent(subject.rate(base).rate),
            note=t("from_base_to", base=base.name, system=system.name),
        )
    ]
    comparison = subject.against("incumbent") or subject.against("base")
    if comparison is not None and comparison.probability_of_improvement is not None:
        found.append(
            Tile(
                t("tile_probability"),
                shown_probability(comparison.probability_of_improvement, t),
                note=t("tile_probability_note", other=comparison.against),
            )
        )
    if subject.general is not None and subject.report.general is not None:
        found.append(
            Tile(
                t("tile_forgetting"),
                t.points(subject.general.degradation),
                note=t("tile_forgetting_note"),
            )
        )
    if system.size_bytes is not None:
        full = subject.named(subject.report.full)
        note = t("tile_size_note")
        if full is not None and full.size_bytes and full is not system:
            note = t("tile_size_full", share=t.percent(system.size_bytes / full.size_bytes))
        found.append(Tile(t("tile_size"), t.size(system.size_bytes), note=note))
    return found


def answers(subject: Subject, survey: Survey, t: Words) -> list[Answer]:
    """Return the board's questions with their answers."""
    if subject.is_base:
        return [Answer(t("q_compared"), [_compared(subject, t)])]
    return [
        Answer(t("q_compared"), [_compared(subject, t)]),
        Answer(t("q_better"), _better(subject, t)),
        Answer(t("q_sure"), _sure(subject, t)),
        Answer(t("q_broke"), _broke(subject, survey, t)),
        Answer(t("q_cost"), _cost(subject, t)),
    ]


def _compared(subject: Subject, t: Words) -> str:
    report = subject.report
    systems = t("and").join(
        t("system_and_kind", system=system.name, kind=kind_of(system, subject, t))
        for system in report.systems
    )
    values = {
        "duration": t.duration(report.duration_s),
        "utterances": f"{report.utterances:,}",
        "systems": systems,
    }
    if report.speakers is None:
        return t("compared_no_speakers", **values)
    return t("compared", n=report.speakers, **values)


def kind_of(system: SystemResult, subject: Subject, t: Words) -> str:
    """Return what a system is, and that it runs today where it does."""
    kind = t(f"kind_{system.kind}")
    if system.decoding == "beam":
        kind = t("kind_beam", kind=kind)
    if system.name == subject.report.incumbent:
        return t("kind_incumbent", kind=kind)
    return kind


def _better(subject: Subject, t: Words) -> list[str]:
    report = subject.report
    shown = []
    others = [subject.named(report.incumbent), subject.base]
    for other in others:
        if other is not None and other is not subject.system:
            shown.append(_two(subject, other, t))
    full = subject.named(report.full) or next((s for s in report.systems if s.kind == "full"), None)
    if full is not None and full is not subject.system:
        gap = subject.rate(subject.system).rate - subject.rate(full).rate
        key = "gap_behind" if gap > 0 else "gap_ahead"
        base_gain = subject.rate(subject.base).rate - subject.rate(full).rate
        sentence = t(
            key,
            system=subject.system.name,
            full=full.name,
            rate=t.percent(subject.rate(full).rate),
            gap=f"{100 * abs(gap):.1f}",
        )
        if gap > 0 and base_gain > 0:
            share = (
                subject.rate(subject.base).rate - subject.rate(subject.system).rate
            ) / base_gain
            if share > 0:
                sentence = t.together(sentence, t("gap_share", share=t.percent(share, 0)))
        shown.append(sentence)
    return list(dict.fromkeys(shown))


def _sure(subject: Subject, t: Words) -> list[str]:
    shown = []
    for role in ("incumbent", "base", "full"):
        comparison = subject.against(role)
        if comparison is not None:
            shown.append(_certainty(comparison, t))
    if not shown:
        return [t("no_tests")]
    if subject.report.interval.unit == "speaker":
        shown.append(t("sure_by_speaker"))
    return list(dict.fromkeys(shown))


def _certainty(comparison: Comparison, t: Words) -> str:
    if comparison.p_value is None or comparison.probability_of_improvement is None:
        return t("certainty_none", other=comparison.against, p=p_value(comparison.mapsswe.p_value))
    interval = ""
    if comparison.low is not None and comparison.high is not None:
        interval = t(
            "certainty_interval", low=t.points(comparison.low), high=t.points(comparison.high)
        )
    return t(
        "certainty",
        system=comparison.system,
        other=comparison.against,
        probability=shown_probability(comparison.probability_of_improvement, t),
        difference=t.points(comparison.difference),
        interval=interval,
        p=p_value(comparison.p_value),
    )


def _broke(subject: Subject, survey: Survey, t: Words) -> list[str]:
    shown = []
    report, general = subject.report, subject.general
    if general is None or report.general is None:
        shown.append(t("broke_unmeasured"))
    else:
        key = "broke_nothing"
        if general.degradation > 0:
            proven = _leaves_out_zero(general.low, general.high)
            key = "broke_forgot" if proven or general.degradation >= MARKED_LOSS else "broke_hardly"
        shown.append(
            t(
                key,
                difference=t.points(general.degradation),
                duration=t.duration(report.general.duration_s),
            )
        )
    harmed = len(survey.most_harmed(subject.system.name, subject.base.name, 10**9))
    shown.append(t("broke_harmed", n=harmed, of=f"{report.utterances:,}", base=subject.base.name))
    worst = next((w for w in report.worst_slices if w.system == subject.system.name), None)
    if worst is not None:
        shown.append(
            t(
                "broke_slice",
                column=next(
                    (
                        column_name(slicing, t)
                        for slicing in report.slicings
                        if slicing.column == worst.column
                    ),
                    worst.column,
                ),
                value=worst.value,
                rate=t.percent(worst.rate.rate),
                utterances=f"{worst.utterances:,}",
            )
        )
    return shown


def column_name(slicing: Slicing, t: Words) -> str:
    """Return what a column is called: its own name where it is one of the metadata."""
    return slicing.column if slicing.kind == "metadata" else t(f"column_{slicing.kind}")


def _cost(subject: Subject, t: Words) -> list[str]:
    system, cost = subject.system, subject.cost
    shown = []
    if system.trained_parameters is not None and system.size_bytes is not None:
        shown.append(
            t(
                "cost_size",
                parameters=f"{system.trained_parameters:,}",
                size=t.size(system.size_bytes),
            )
        )
    if system.train_seconds is not None:
        shown.append(t("cost_train", duration=t.duration(system.train_seconds)))
    shown.append(t("cost_speed", factor=f"{1 / max(system.real_time_factor, 1e-9):.0f}"))
    costs = subject.report.costs
    if cost is not None and costs is not None and cost.projection is not None:
        full = next(
            (c for c in costs.systems if c.system == subject.report.full and c.projection), None
        )
        size = t.size(cost.projection.stored_bytes)
        if full is not None and full.projection is not None and full is not cost:
            shown.append(
                t(
                    "cost_departments_full",
                    departments=costs.departments,
                    size=size,
                    full=t.size(full.projection.stored_bytes),
                )
            )
        else:
            shown.append(t("cost_departments", departments=costs.departments, size=size))
        if cost.train_money is not None:
            money = f"{cost.train_money:,.2f} {costs.prices.currency}"
            shown.append(t("cost_money", money=money))
    return shown


def _two(subject: Subject, other: SystemResult, t: Words) -> str:
    mine, theirs = subject.rate(subject.system).rate, subject.rate(other).rate
    values = {
        "unit": t(f"unit_{subject.report.metric}"),
        "system": subject.system.name,
        "other": other.name,
        "mine": f"{100 * mine:.1f}",
        "theirs": f"{100 * theirs:.1f}",
    }
    if theirs == 0 or mine == theirs:
        return t("two_rates", **values)
    share = t.percent(abs(mine - theirs) / theirs, 0)
    return t("two_rates_fewer" if mine < theirs else "two_rates_more", share=share, **values)


def _wrong(subject: Subject, system: SystemResult, t: Words) -> str:
    return t(
        "one_rate",
        unit=t(f"unit_{subject.report.metric}"),
        system=system.name,
        mine=f"{100 * subject.rate(system).rate:.1f}",
    )


def shown_probability(value: float, t: Words) -> str:
    """Return a probability of improvement, which resampling knows to a thousandth at best."""
    if value > 0.999:
        return t("more_than", value="99.9%")
    if value < 0.001:
        return t("less_than", value="0.1%")
    return t.percent(value)


def p_value(value: float) -> str:
    """Return a p-value as papers print it."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _interval(low: float | None, high: float | None, t: Words) -> str:
    if low is None or high is None:
        return t("no_interval")
    return t("interval", low=t.percent(low), high=t.percent(high))
