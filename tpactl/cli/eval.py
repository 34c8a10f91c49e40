"""``tpactl eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tpactl.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from tpactl.formats.report import Report


def eval(
    data: Annotated[
        Path, typer.Option("--data", metavar="DATA", help="A data set of tpactl prepare.")
    ],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    run: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A folder of tpactl train; may be repeated."),
    ] = None,
    package: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A .tpa file; may be repeated.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to call the runs in the report: once for each --run, in order. Default: "
            "their folders' names.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="starter, a model directory, or HUB_ID[@REVISION]. Default: the base of the "
            "first run or package."
        ),
    ] = None,
    normaliser: Annotated[
        str, typer.Option(help="whisper-english, whisper-basic or none.")
    ] = "whisper-english",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write report.json, report.md and utterances.jsonl there."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier report.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one object.")] = False,
) -> None:
    """Measure the base, adapters and full fine-tunes side by side on the same audio.

    Word and character error rates carry 95 % intervals, drawn by speaker; below five speakers there
    are none. Figures are comparable only under the same normaliser, which the report names with its
    version.

    Example:
      tpactl eval --data DATA --split test --run RUN --out REPORT
    """
    from tpactl.flows.compare import compare

    with console.progress() as on_progress:
        report = compare(
            data,
            split,
            base_ref=base,
            runs=run or (),
            packages=package or (),
            names=name or (),
            out=out,
            normaliser=normaliser,
            device=device,
            force=force,
            on_progress=on_progress,
        )
    from tpactl.eval.report import notes

    for note in notes(report):
        console.warn(note)
    if json:
        console.print_json(report)
        return
    _show(report)
    console.next_step(*_next(report, data, out))


_FIGURES = ("WER % (95 %)", "CER %", "S / D / I", "RTF", "trained", "size")
_WIDTH_OF_TABLE = 76
"""On narrower terminals each system gets a block of its own."""


def _show(report: Report) -> None:
    from tpactl.eval.report import cells, facts

    if console.out.width >= _WIDTH_OF_TABLE:
        console.out.print(_table(report))
        console.out.print()
    else:
        for system in report.systems:
            console.facts(dict(zip(("system", *_FIGURES), cells(system), strict=True)))
            console.out.print()
    console.facts(facts(report))


def _table(report: Report) -> Table:
    from rich.text import Text

    from tpactl.eval.report import cells

    made = console.table("system", *_FIGURES, right=_FIGURES)
    best = min(system.wer.rate for system in report.systems)
    for system in report.systems:
        shown = [Text(cell) for cell in cells(system)]
        if system.wer.rate == best:
            shown[1].stylize("best")
        made.add_row(*shown)
    return made


def _next(report: Report, data: Path, out: Path | None) -> tuple[str, str]:
    """Return the command that follows and why."""
    runs = [system for system in report.systems if system.kind == "run"]
    if not runs:
        packages = [system for system in report.systems if system.kind == "package"]
        if packages:
            return f"tpactl verify {packages[0].source} --base {report.base_ref}", ""
        return f"tpactl train --data {data} --base {report.base_ref} --out RUN", ""
    best = min(runs, key=lambda system: system.wer.rate)
    if out is None:
        again = f"tpactl eval --data {data} --split {report.split} --run {best.source} --out REPORT"
        return again, "keeps the report for the package"
    return (
        f"tpactl package {best.source} --name department/task --version 1.0.0 "
        f"--eval {out} --out FILE.tpa"
    ), ""
