"""``tpactl quickstart``."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tpactl.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from tpactl.cli.console import ProgressBar
    from tpactl.flows.quickstart import Quickstart, Step
    from tpactl.formats.report import Report

OWN_DATA = (
    ("tpactl init DEPARTMENT", "folders, run file and model card to fill in"),
    ("tpactl prepare DEPARTMENT/audio --out DATA", ""),
    ("tpactl train --data DATA --base starter --out RUN", ""),
    ("tpactl eval --data DATA --split test --run RUN --out REPORT", ""),
    ("tpactl package RUN --name department/task --version 1.0.0 --eval REPORT --out FILE.tpa", ""),
    ("tpactl verify FILE.tpa --base starter", ""),
)


def quickstart(
    workdir: Annotated[
        Path, typer.Option(metavar="DIR", help="Where everything is written; made if need be.")
    ] = Path("tpactl-quickstart"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Take the shipped example department through every step, in under three minutes.

    Prepares eleven minutes of a made-up warehouse's radio traffic (synthetic speech), trains an
    adapter and, beside it, the whole base; measures both against the base on voices neither has
    heard; packages the adapter, verifies the package and transcribes with it. Run again in the same
    folder, it keeps what is still valid and measures anew.

    Example:
      tpactl quickstart --workdir tpactl-quickstart
    """
    # Waiting threads that spin starve each other where the cores are shared: an epoch then takes
    # many times as long. Read when torch loads its OpenMP, so set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from tpactl.flows.quickstart import quickstart as run

    screen = Screen(silent=json)
    if not json:
        console.out.print(
            "A made-up warehouse (synthetic speech) on the starter base; two to three minutes.\n"
            f"Every step in {workdir}\n",
            markup=False,
            soft_wrap=True,
        )
    try:
        result = run(workdir, watcher=screen)
    finally:
        screen.close()
    if json:
        console.print_json(result.outcome)
        return
    show(result, workdir)


class Screen:
    """Draws a bar for each step that runs and, in their order, a line for each that is done.

    Args:
        silent: no lines, because stdout is for one JSON object.
    """

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._running: list[str] = []
        self._done: dict[int, Step] = {}
        self._printed = 0
        self._bars: ProgressBar | None = None

    def begin(self, name: str) -> None:
        """A step begins."""
        self._running.append(name)
        if self._bars is None:
            self._bars = console.ProgressBar()
        self._bars(name, 0, 0, line=name)

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """Part of it is done."""
        if self._bars is not None:
            self._bars(f"{name}: {stage}", done, total, line=name)

    def note(self, name: str, text: str) -> None:
        """Its figures of the moment."""
        if self._bars is not None:
            self._bars.note(text, line=name)

    def end(self, step: Step) -> None:
        """It is done."""
        self.close()
        still = [name for name in self._running if name != step.name]
        self._running = []
        self._done[step.number] = step
        while not self._silent and self._printed + 1 in self._done:
            self._printed += 1
            self._print(self._done[self._printed])
        for name in still:
            self.begin(name)

    def _print(self, step: Step) -> None:
        line = Text.assemble((f"{step.number} ", "quiet"), (f"{step.name:<11}", "command"))
        line.append(step.summary)
        line.append(f"  {step.seconds:.1f} s", "quiet")
        if step.kept:
            line.append(", the same again" if step.name == "eval" else ", kept", "quiet")
        console.out.print(line, soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.close()
            self._bars = None


def show(result: Quickstart, workdir: Path) -> None:
    """Print what came of it."""
    from tpactl.eval.shown import notes, size

    outcome, heard = result.outcome, result.heard
    console.out.print()
    console.out.print(systems_table(result.report))
    for note in notes(result.report):
        console.warn(note)
    console.out.print()
    console.facts({"said": heard.said, "base hears": heard.base, "adapter hears": heard.adapter})
    console.out.print()
    canary = result.verification.canary
    assert canary is not None
    apart = f"at most {canary.max_difference:.1g} apart" if canary.max_difference else "bit for bit"
    console.facts(
        {
            "report": str(Path(outcome.package_path).parent / "report" / "report.html"),
            "package": f"{outcome.package_path} ({size(outcome.package_bytes)})",
            "verified": f"every digest, the starter base, and the same logits again ({apart})",
            "took": f"{outcome.elapsed_s:.0f} s",
        }
    )
    console.out.print()
    console.out.print(Text("Your own department:", "bold"))
    for command, why in OWN_DATA:
        line = Text.assemble("  ", (command, "command"))
        if why:
            line.append(f"   {why}", "quiet")
        console.out.print(line, soft_wrap=True)
    package = workdir / Path(outcome.package_path).name
    console.next_step(f"tpactl inspect {quote(str(package))}")


def systems_table(report: Report) -> Table:
    """Return the comparison of base, adapter and full fine-tune."""
    from tpactl.eval.shown import size, with_interval

    figures = ("WER % (95 %)", "trained parameters", "file size", "training")
    title = f"{report.utterances} test utterances, {report.speakers} voices unheard in training"
    table = console.table("system", *figures, title=title, right=figures)
    names = {"base": "base", "tpa": "TPA adapter", "full": "full fine-tune"}
    for system in report.systems:
        trained = system.trained_parameters is not None
        table.add_row(
            names.get(system.name, system.name),
            with_interval(system.wer),
            f"{system.trained_parameters:,}" if trained else "-",
            size(system.size_bytes) if system.size_bytes is not None else "-",
            f"{system.train_seconds:.0f} s" if system.train_seconds is not None else "-",
        )
    return table
