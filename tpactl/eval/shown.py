"""What every rendering of a report shows: rates and sizes in words, facts, notes."""

from __future__ import annotations

from tpactl.eval import leaks
from tpactl.formats.decoding import BeamSearch
from tpactl.formats.report import Departments, Rate, Report, SystemResult, WorstSlice

_JOINED = 0.8
"""Fewer words than this share of the references' own are worth a note."""
_NAMED = 5
"""Terms a note names."""


def cells(system: SystemResult) -> list[str]:
    """Return the system's row as every table shows it."""
    return [
        system.name,
        with_interval(system.wer),
        f"{100 * system.cer.rate:.1f}",
        f"{system.wer.substitutions} / {system.wer.deletions} / {system.wer.insertions}",
        f"{system.real_time_factor:.3f}",
        f"{system.trained_parameters:,}" if system.trained_parameters else "-",
        size(system.size_bytes) if system.size_bytes else "-",
    ]


def with_interval(rate: Rate) -> str:
    """Return a rate in percent with its interval, where there is one: ``12.3 (10.1-14.9)``."""
    shown = f"{100 * rate.rate:.1f}"
    if rate.low is None or rate.high is None:
        return shown
    return f"{shown} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def percent(share: float | None) -> str:
    """Return a share in percent, ``-`` where there is none.

    >>> percent(0.9871), percent(None)
    ('98.7 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def difference(value: float, low: float | None, high: float | None) -> str:
    """Return a difference of rates in percentage points, with its interval.

    >>> difference(-0.102, -0.15, -0.05)
    '-10.2 (-15.0 to -5.0)'
    """
    shown = f"{100 * value:+.1f}"
    if low is None or high is None:
        return shown
    return f"{shown} ({100 * low:+.1f} to {100 * high:+.1f})"


def p_value(value: float | None) -> str:
    """Return a p-value as one reads it.

    >>> p_value(0.00002), p_value(0.0312), p_value(None)
    ('< 0.001', '0.031', '-')
    """
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def time(seconds: float | None) -> str:
    """Return a duration in the unit that suits it.

    >>> time(42.0), time(4200.0), time(None)
    ('42 s', '1.2 h', '-')
    """
    if seconds is None:
        return "-"
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.1 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.3g} s"


def amount(value: float | None, unit: str) -> str:
    """Return money or energy, ``-`` where there is no price.

    >>> amount(0.01234, "kWh"), amount(1250.0, "EUR"), amount(None, "EUR")
    ('0.0123 kWh', '1,250 EUR', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def size(num_bytes: int) -> str:
    """Return a size in the unit that suits it.

    >>> size(812), size(2_431_000), size(31_000)
    ('812 B', '2.4 MB', '31 kB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes / 1e3:.0f} kB" if num_bytes >= 1000 else f"{num_bytes} B"


def facts(report: Report) -> dict[str, str]:
    """Return what the figures rest on, by name."""
    interval = report.interval
    spoken = f" by {report.speakers} speakers" if report.speakers else ""
    found = {
        "data": f"{report.data_path} ({report.data_digest[:19]}), {report.split}: "
        f"{report.utterances} utterances{spoken}, {report.duration_s / 60:.1f} min",
        "base": f"{report.base_ref} ({report.base_digest[:19]})",
        "normaliser": f"{report.normaliser.name} {report.normaliser.version}",
        "intervals": f"{interval.confidence:.0%}, by {interval.unit}; {interval.method}, "
        f"{interval.resamples} resamples, seed {interval.seed}",
        "device": report.device,
        "tpactl": report.tpactl_version,
    }
    if report.departments is not None:
        found["departments"] = _departments(report.departments)
    if report.beam is not None:
        found["beam search"] = search(report.beam)
    return found


def _departments(departments: Departments) -> str:
    heard = [f"{each.name} ({each.digest[:19]}) {each.utterances}" for each in departments.adapters]
    heard += [f"base {departments.by_base}"] if departments.by_base else []
    return f"utterances by {departments.column}: {'; '.join(heard)}"


def search(beam: BeamSearch) -> str:
    """Return how beam search was set and with which files."""
    parts = [f"width {beam.width}"]
    if beam.lm is not None and beam.lm_digest is not None:
        parts.append(
            f"{beam.lm} ({beam.lm_digest[:19]}) weight {beam.lm_weight:g}, word bonus "
            f"{beam.word_bonus:g}, unknown words -{beam.unknown_penalty:g}"
        )
    if beam.words is not None and beam.words_digest is not None:
        parts.append(
            f"{beam.terms} terms of {beam.words} ({beam.words_digest[:19]}) weight "
            f"{beam.words_weight:g}"
        )
    return f"{'; '.join(parts)}; {beam.library}"


def findings(report: Report) -> dict[str, str]:
    """Return the answers beside the error rates, one each by name; empty where none was asked."""
    found = {}
    for row in report.comparisons:
        better = percent(row.probability_of_improvement)
        found[f"{row.system} against {row.against}"] = (
            f"{difference(row.difference, row.low, row.high)} points of {row.metric.upper()}, "
            f"better in {better} of resamples, p {p_value(row.p_value)}; "
            f"MAPSSWE p {p_value(row.mapsswe.p_value)}"
        )
    for result in report.general.results if report.general else ():
        if result.p_value is not None:
            found[f"{result.system} on the general set"] = (
                f"{difference(result.degradation, result.low, result.high)} points against the "
                f"base, p {p_value(result.p_value)}"
            )
    for worst in report.worst_slices:
        found[f"worst slice of {worst.system}"] = worst_slice(worst)
    for total in report.glossary.total if report.glossary else ():
        found[f"terms in {total.system}"] = (
            f"recall {percent(total.recall)}, precision {percent(total.precision)} of "
            f"{total.in_reference} said"
        )
    return found


def worst_slice(worst: WorstSlice) -> str:
    """Return which slice it is, its rate and its size."""
    spoken = f", {worst.speakers} speakers" if worst.speakers else ""
    return (
        f"{worst.column} {worst.value}: {with_interval(worst.rate)} % {worst.metric.upper()} "
        f"({worst.utterances} utterances{spoken}, {worst.duration_s / 60:.1f} min)"
    )


def notes(report: Report) -> list[str]:
    """Return, one sentence each, what whoever reads the figures must know."""
    found = [leaks.note(leak, systems, report) for leak, systems in leaks.alike(report)]
    if report.empty_references:
        found.append(
            f"{report.empty_references} of {report.utterances} references have no words under "
            f"{report.normaliser.name}; whatever is heard there counts as insertions."
        )
    words, raw_words = (
        r.reference_length for r in (report.systems[0].wer, report.systems[0].raw_wer)
    )
    if words < _JOINED * raw_words:
        found.append(
            f"{report.normaliser.name} makes {words} words of the references' {raw_words}: digits "
            "read one by one become one word, so one wrong digit counts as a wrong number. "
            "whisper-basic counts each word as it was said."
        )
    if report.departments is not None:
        found += _of_departments(report.departments)
    if report.beam is not None and report.beam.unwritable:
        left_out = report.beam.unwritable
        found.append(
            f"{report.beam.words}: the base cannot write, and so never hears: "
            f"{', '.join(left_out[:_NAMED])}{', ...' if left_out[_NAMED:] else ''}."
        )
    if report.systems[0].wer.low is None:
        found.append(
            f"No intervals: fewer than five {report.interval.unit}s with words in their references."
        )
    return found


def _of_departments(departments: Departments) -> list[str]:
    found = []
    if departments.by_base:
        found.append(
            f"{departments.by_base} utterances name no adapter under {departments.column} and were "
            "heard by the base alone."
        )
    unheard = [each.name for each in departments.adapters if not each.utterances]
    if unheard:
        found.append(f"No utterance names {', '.join(unheard)}: nothing is known of it.")
    alone = [each for each in departments.adapters if each.alone is not None]
    if alone:
        found.append(
            f"{', '.join(each.name for each in alone)} shared no batch with other adapters "
            f"({alone[0].alone}); the figures are the same, it took longer."
        )
    return found
