"""The trials of a search as a table, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tpactl.formats.search import DEFAULT, Confirmation, SearchRecord, Trial

COLUMNS = ("trial", "trained", "WER %", "trained to", "differs from the default in")


def ranked(record: SearchRecord) -> list[Trial]:
    """Return the trials, the best first: by how far they were trained, then by their WER."""

    def key(trial: Trial) -> tuple[Any, ...]:
        score = trial.score
        rank = score.rank if score else (float("inf"), float("inf"))
        return (trial.state == "failed", -len(trial.scores), rank, trial.number)

    return sorted(record.trials, key=key)


def rows(record: SearchRecord) -> list[tuple[str, ...]]:
    """Return the cells of each trial under ``COLUMNS``."""
    return [
        (
            f"{trial.number}{' (best)' if trial.number == record.best else ''}",
            "-" if trial.trained_parameters is None else f"{trial.trained_parameters:,}",
            f"{trial.score.wer:.1%}".rstrip("%") if trial.score else "-",
            trial.reason or _how_far(trial),
            described(trial),
        )
        for trial in ranked(record)
    ]


def described(trial: Trial) -> str:
    """Return what a trial changes, in a line."""
    if trial.number == DEFAULT:
        return "(the default)"
    words = [f"{key.rpartition('.')[2]} {_short(value)}" for key, value in trial.settings.items()]
    return ", ".join([*words, *(["cached"] if trial.cached_prefix else [])])


def outcome(record: SearchRecord) -> str:
    """Return in a sentence what the search decided, and on whom it was confirmed."""
    found = record.confirmation
    assert found is not None
    default, other = found.rate("default"), found.rate("found")
    half = f"{len(record.confirming)} {record.unit}s that steered nothing"
    name = found.metric.upper()
    if other is None:
        return f"no trial was better than the default, which has {name} {default:.1%} on {half}"
    told = f"{name} {other:.1%} against the default's {default:.1%} on {half}{_interval(found)}"
    if found.is_confirmed:
        return f"trial {found.trial} is kept: {told}"
    return f"the default is kept: trial {found.trial} was better by steering, but has {told}"


def effort(record: SearchRecord) -> str:
    """Return what the search took, and why it ended."""
    trials = len(record.trials)
    reason = _ENDED.get(record.ended_by or "", "it goes on")
    return f"{trials} {'trial' if trials == 1 else 'trials'} in {record.seconds:,.0f} s; {reason}"


_ENDED = {
    "budget": "the time was up",
    "trials": "all trials were made",
    "space": "nothing in the space was left to try",
}


def markdown(record: SearchRecord) -> str:
    """Return the whole outcome as a page of Markdown."""
    steering, confirming = len(record.steering), len(record.confirming)
    lines = [
        "# Search for the configuration of an adapter",
        "",
        f"{outcome(record)[0].upper()}{outcome(record)[1:]}.",
        "",
        f"{effort(record)}.",
        "",
        f"WER in the first table is the lowest on the {steering} {record.unit}s that steered; the "
        f"second is measured on {confirming} others, with the normaliser "
        f"{record.confirmation.normaliser if record.confirmation else '-'}.",
        "",
        *_grid(COLUMNS, rows(record)),
        "",
        *_grid(("system", "rate %", "95 % interval"), _confirmed(record.confirmation)),
        *[line for note in record.notes for line in ("", f"Note: {note}.")],
    ]
    return "\n".join(lines) + "\n"


def _confirmed(found: Confirmation | None) -> list[tuple[str, ...]]:
    return [
        (
            entry.system,
            f"{entry.rate.rate:.1%}".rstrip("%"),
            "-"
            if entry.rate.low is None or entry.rate.high is None
            else f"{100 * entry.rate.low:.1f}–{100 * entry.rate.high:.1f}",
        )
        for entry in (found.rates if found else [])
    ]


def _how_far(trial: Trial) -> str:
    if trial.state != "finished":
        return f"{trial.progress:.0%}"
    return "its end" if trial.progress >= 1 else f"{trial.progress:.0%}, out of patience"


def _interval(found: Confirmation) -> str:
    if found.difference is None or found.low is None or found.high is None:
        return ""
    return (
        f" (difference {100 * found.difference:+.1f}, 95 % interval "
        f"{100 * found.low:+.1f} to {100 * found.high:+.1f} points)"
    )


def _grid(columns: Sequence[str], cells: Sequence[tuple[str, ...]]) -> list[str]:
    return [
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *[f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in cells],
    ]


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("'", "")
