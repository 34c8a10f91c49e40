"""Compares the best trial with the default on speakers that steered nothing."""

from __future__ import annotations

from pathlib import Path

from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.systems import system_of_run
from tpactl.formats.progress import Progress
from tpactl.formats.report import Rate, SystemResult
from tpactl.formats.search import DEFAULT, Confirmation, SystemRate, trial_folder


def confirm(
    search: Path,
    data: Path,
    best: int,
    *,
    base: str,
    device: str,
    on_progress: Progress | None = None,
) -> Confirmation:
    """Return how base, default and best trial do on the confirming half of dev.

    Args:
        search: the search's folder.
        data: its data set, whose test split is the confirming half.
        best: number of the best trial by steering; both it and the default are finished.
        base: as it was named.
        device: where it computes.
        on_progress: told how hearing goes.

    Raises:
        TpactlError: as ``eval.compare.compare`` raises it.
    """
    systems = [system_of_run(trial_folder(search, DEFAULT), "default")]
    is_default = best == DEFAULT
    if not is_default:
        systems.append(system_of_run(trial_folder(search, best), "found"))
    report = compare(
        data,
        "test",
        base,
        systems,
        plan=Plan(incumbent=None if is_default else "default"),
        device=device,
        on_progress=on_progress,
    )
    measured = {system.name: system for system in report.systems}
    paired = next((c for c in report.comparisons if c.role == "incumbent"), None)

    def rate(system: SystemResult) -> Rate:
        return system.wer if report.metric == "wer" else system.cer

    def rank(name: str) -> tuple[float, float]:
        return (rate(measured[name]).rate, measured[name].cer.rate)

    return Confirmation(
        trial=best,
        metric=report.metric,
        normaliser=report.normaliser.name,
        rates=[
            SystemRate(system="base", rate=rate(measured["base"])),
            SystemRate(system="default", rate=rate(measured["default"])),
            *([] if is_default else [SystemRate(system="found", rate=rate(measured["found"]))]),
        ],
        difference=paired.difference if paired else None,
        low=paired.low if paired else None,
        high=paired.high if paired else None,
        is_confirmed=is_default or rank("found") <= rank("default"),
    )
