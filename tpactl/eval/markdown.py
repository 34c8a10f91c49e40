"""``report.md``: the report as a page of tables, each question a heading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tpactl.eval.shown import (
    amount,
    cells,
    difference,
    facts,
    notes,
    p_value,
    percent,
    size,
    time,
    with_interval,
    worst_slice,
)
from tpactl.formats.report import (
    Comparison,
    Cost,
    Costs,
    Report,
    Slicing,
    SystemRates,
    TermResult,
    rate_of,
)


def markdown(report: Report) -> str:
    """Return the whole report as Markdown; sections without figures are left out."""
    lines = [f"# Evaluation on {report.split}", ""]
    lines += _systems(report)
    for note in notes(report):
        lines += [note, ""]
    for section in (_comparisons, _general, _slices, _glossary, _stress, _costs):
        lines += section(report)
    lines += ["## What the figures rest on", ""]
    lines += [f"- {name}: {value}" for name, value in facts(report).items()]
    return "\n".join(lines) + "\n"


def _systems(report: Report) -> list[str]:
    head = ["system", "WER %", "CER %", "S / D / I", "RTF", "trained parameters", "size"]
    return table(
        [*head, "raw WER %"],
        ([*cells(system), with_interval(system.raw_wer)] for system in report.systems),
    )


def _comparisons(report: Report) -> list[str]:
    if not report.comparisons:
        return []
    metric = report.metric.upper()
    head = ["system", "against", f"{metric} difference", "better in", "p", "MAPSSWE p", "segments"]
    return ["## Is it better?", "", *table(head, map(_comparison, report.comparisons))]


def _comparison(row: Comparison) -> list[str]:
    return [
        row.system,
        row.against if row.role == "base" else f"{row.against} ({row.role})",
        difference(row.difference, row.low, row.high),
        percent(row.probability_of_improvement),
        p_value(row.p_value),
        p_value(row.mapsswe.p_value),
        str(row.mapsswe.segments),
    ]


def _general(report: Report) -> list[str]:
    general = report.general
    if general is None:
        return []
    metric = general.metric.upper()
    rows = (
        [
            row.system,
            with_interval(rate_of(row, general.metric)),
            difference(row.degradation, row.low, row.high),
            p_value(row.p_value),
        ]
        for row in general.results
    )
    spoken = f" by {general.speakers} speakers" if general.speakers else ""
    return [
        "## What did it forget?",
        "",
        *table(["system", f"{metric} %", "against the base", "p"], rows),
        f"On {general.data_path} ({general.data_digest[:19]}), {general.split}: "
        f"{general.utterances} utterances{spoken}, {general.duration_s / 60:.1f} min.",
        "",
    ]


def _slices(report: Report) -> list[str]:
    if not report.slicings:
        return []
    lines = ["## For whom?", ""]
    lines += [f"- {w.system} is worst at {worst_slice(w)}" for w in report.worst_slices]
    lines.append("")
    for slicing in report.slicings:
        lines += _slicing(slicing, report)
    return lines


def _slicing(slicing: Slicing, report: Report) -> list[str]:
    head = [slicing.column, "utterances", *(system.name for system in report.systems)]
    rows = (
        [part.value, str(part.utterances), *_rates(part.results, report)] for part in slicing.slices
    )
    lines = table(head, rows)
    if slicing.without_value:
        lines += [f"{slicing.without_value} utterances have no {slicing.column}.", ""]
    return lines


def _rates(results: Sequence[SystemRates], report: Report) -> list[str]:
    return [with_interval(rate_of(rates, report.metric)) for rates in results]


def _glossary(report: Report) -> list[str]:
    glossary = report.glossary
    if glossary is None:
        return []
    head = ["term", "said", *(f"{system.name}: recall, precision %" for system in report.systems)]
    rows = [
        [term.term, str(term.results[0].in_reference), *map(_term, term.results)]
        for term in glossary.terms
    ]
    total = ["all", str(glossary.total[0].in_reference), *map(_term, glossary.total)]
    return ["## Department terms", "", *table(head, [*rows, total])]


def _term(result: TermResult) -> str:
    return f"{percent(result.recall)}, {percent(result.precision)}"


def _stress(report: Report) -> list[str]:
    if report.stress is None:
        return []
    head = ["audio", *(system.name for system in report.systems)]
    clean = [with_interval(rate_of(system, report.metric)) for system in report.systems]
    rows = [["as recorded", *clean]]
    rows += [[point.label, *_rates(point.results, report)] for point in report.stress.points]
    return [f"## Under stress: {report.metric.upper()} %", "", *table(head, rows)]


def _costs(report: Report) -> list[str]:
    costs = report.costs
    if costs is None:
        return []
    head = ["system", "training", "its memory", "size", "RTF batched, single", "memory"]
    head += ["train cost", "cost an hour of audio", f"{costs.departments} departments"]
    lines = ["## Cost", "", *table(head, (_cost(row, costs) for row in costs.systems))]
    against = [row for row in costs.systems if row.against_full is not None]
    for row in against:
        assert row.against_full is not None
        share = row.against_full
        shares = {
            "of its trained parameters": share.trained_parameters,
            "of its size": share.size_bytes,
            "of its training time": share.train_seconds,
            "of its training memory": share.train_memory_bytes,
        }
        told = [f"{100 * v:.3g} % {what}" for what, v in shares.items() if v is not None]
        lines.append(f"- {row.system} against {report.full}: {', '.join(told)}")
    return [*lines, ""] if against else lines


def _cost(row: Cost, costs: Costs) -> list[str]:
    single = row.real_time_factor_single
    projected = "-"
    if row.projection is not None:
        parts = [
            size(row.projection.stored_bytes),
            time(row.projection.train_seconds),
            amount(row.projection.train_money, costs.prices.currency),
            amount(row.projection.train_kwh, "kWh"),
        ]
        projected = ", ".join(part for part in parts if part != "-")
    return [
        row.system,
        time(row.train_seconds),
        size(row.train_memory_bytes) if row.train_memory_bytes else "-",
        size(row.size_bytes) if row.size_bytes else "-",
        f"{row.real_time_factor:.3f}, {'-' if single is None else f'{single:.3f}'}",
        size(row.inference_memory_bytes) if row.inference_memory_bytes else "-",
        _money_and_energy(row.train_money, row.train_kwh, costs),
        _money_and_energy(row.money_per_audio_hour, row.kwh_per_audio_hour, costs),
        projected,
    ]


def _money_and_energy(money: float | None, kwh: float | None, costs: Costs) -> str:
    parts = [amount(money, costs.prices.currency), amount(kwh, "kWh")]
    return ", ".join(part for part in parts if part != "-") or "-"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table and an empty line; what would break a cell is escaped."""
    lines = [_row(head), "|---" * len(head) + "|"]
    return [*lines, *map(_row, rows), ""]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(c.split()).replace("|", "\\|") for c in cells) + " |"
