"""The report's folder: ``report.json``, ``utterances.jsonl`` and ``report.md``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tpactl.errors import InputError
from tpactl.formats.files import whole_folder, write_bytes, write_json, write_jsonl
from tpactl.formats.report import Rate, Report, SystemResult, UtteranceResult

_JOINED = 0.8
"""Fewer words than this share of the references' own are worth a note."""


def check_place(out: Path, *, force: bool) -> None:
    """Refuse, before any work, an ``out`` that cannot become a report.

    Raises:
        InputError: something is there and ``force`` is not set, or it is no report that ``force``
            could replace.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "report.json").is_file():
        raise InputError(f"{out} exists and is no report", "choose another --out")
    if not force:
        raise InputError(
            f"{out} exists already", "choose another --out, or replace the report with --force"
        )


def write(
    report: Report, utterances: Iterable[UtteranceResult], out: Path, *, force: bool = False
) -> None:
    """Write the report's three files into ``out``, which appears whole or not at all."""
    with whole_folder(out, replace=force) as folder:
        write_json(folder / "report.json", report)
        write_jsonl(folder / "utterances.jsonl", utterances)
        write_bytes(folder / "report.md", markdown(report).encode())


def markdown(report: Report) -> str:
    """Return the report as a page of Markdown: a table, and how its figures were made."""
    head = "| system | WER % | CER % | S / D / I | RTF | trained parameters | size | raw WER % |"
    rows = [head, "|---" * 8 + "|"]
    for system in report.systems:
        row = [*cells(system), with_interval(system.raw_wer)]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    lines = [f"# Evaluation on {report.split}", "", *rows, ""]
    for note in notes(report):
        lines += [note, ""]
    lines += [f"- {name}: {value}" for name, value in facts(report).items()]
    return "\n".join(lines) + "\n"


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
    return {
        "data": f"{report.data_path} ({report.data_digest[:19]}), {report.split}: "
        f"{report.utterances} utterances{spoken}, {report.duration_s / 60:.1f} min",
        "base": f"{report.base_ref} ({report.base_digest[:19]})",
        "normaliser": f"{report.normaliser.name} {report.normaliser.version}",
        "intervals": f"{interval.confidence:.0%}, by {interval.unit}; {interval.method}, "
        f"{interval.resamples} resamples, seed {interval.seed}",
        "device": report.device,
        "tpactl": report.tpactl_version,
    }


def notes(report: Report) -> list[str]:
    """Return, one sentence each, what whoever reads the figures must know."""
    found = []
    for leak in report.leaks:
        shared = [
            f"{leak.speakers} speakers" if leak.speakers else "",
            f"the words of {leak.same_text}" if leak.same_text else "",
            f"the very audio of {leak.same_audio}" if leak.same_audio else "",
        ]
        found.append(
            f"{leak.system} was trained on part of this test: {leak.utterances} of "
            f"{report.utterances} utterances occur in its training "
            f"({', '.join(filter(None, shared))}); its figures flatter it."
        )
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
    if report.systems[0].wer.low is None:
        found.append(
            f"No intervals: fewer than five {report.interval.unit}s with words in their references."
        )
    return found
