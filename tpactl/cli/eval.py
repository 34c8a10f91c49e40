"""``tpactl eval``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tpactl.cli import console
from tpactl.cli.beam_options import Given, with_beam_options

if TYPE_CHECKING:
    from rich.table import Table

    from tpactl.formats.report import Report


@with_beam_options
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
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A .tpa file, or a folder of such files; may be repeated."
        ),
    ] = None,
    adapter_column: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Many departments in one run: a metadata column that names the adapter of each "
            "utterance, or is empty for the base. They are measured as one system and department "
            "by department.",
        ),
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
    incumbent: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN|FILE",
            help="The run or package in use today; every other system is tested against it.",
        ),
    ] = None,
    normaliser: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="whisper-english, whisper-basic, cjk, none, or a YAML file of rules. Default: "
            "what fits the script of the references.",
        ),
    ] = None,
    metric: Annotated[
        Literal["auto", "wer", "cer"],
        typer.Option(
            help="What systems are compared by; auto takes cer for scripts without word spaces."
        ),
    ] = "auto",
    general: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="A general data set: how much did each system forget on it?"
        ),
    ] = None,
    general_split: Annotated[str, typer.Option(help="Which split of --general.")] = "test",
    slice_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Show a metadata column, speaker, duration or snr slice by slice; may be "
            "repeated.",
        ),
    ] = None,
    glossary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Department terms, one a line: recall and precision of each."
        ),
    ] = None,
    *,
    decode: Annotated[
        Literal["greedy", "beam"] | None,
        typer.Option(
            help="beam also decodes every system by beam search, as a system of its own. Default: "
            "beam where --lm or --words is given."
        ),
    ] = None,
    beam: Given,
    stress: Annotated[
        bool,
        typer.Option("--stress", help="Also under noise, in rooms, by telephone, at other speeds."),
    ] = False,
    single: Annotated[
        int, typer.Option(min=0, help="Time so many utterances one by one as well.")
    ] = 16,
    departments: Annotated[
        int, typer.Option(min=1, metavar="N", help="Project the costs for N departments.")
    ] = 10,
    prices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML with price_per_hour, watts, price_per_kwh and currency; the flags below "
            "override it.",
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, metavar="MONEY", help="Of the machine.")
    ] = None,
    watts: Annotated[
        float | None, typer.Option(min=0, help="What the machine draws while it computes.")
    ] = None,
    price_per_kwh: Annotated[
        float | None, typer.Option(min=0, metavar="MONEY", help="Of its power.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="Of the prices. Default: USD.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write report.html, report.md, report.json and utterances.jsonl there.",
        ),
    ] = None,
    lang: Annotated[
        str, typer.Option("--lang", metavar="LANG", help="Language of report.html: en or ja.")
    ] = "en",
    no_audio: Annotated[
        bool,
        typer.Option(
            "--no-audio", help="Leave recordings out of report.html, where they are confidential."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier report.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where this evaluation was stopped.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse a test that shares speakers, texts or audio with a training."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one object.")] = False,
) -> None:
    """Measure the base, adapters and full fine-tunes side by side on the same audio.

    Word and character error rates carry 95 % intervals, drawn by speaker; below five speakers there
    are none. Figures are comparable only under the same normaliser, which the report names with its
    version.

    Example:
      tpactl eval --data DATA --split test --run RUN --out REPORT
    """
    from tpactl.eval.plan import Plan
    from tpactl.flows.beam import beam_settings
    from tpactl.flows.compare import compare, prices_of

    plan = Plan(
        normaliser=normaliser,
        metric=metric,
        general=general,
        general_split=general_split,
        slice_by=tuple(slice_by or ()),
        glossary=glossary,
        stress=stress,
        single=single,
        prices=prices_of(
            prices,
            price_per_hour=price_per_hour,
            watts=watts,
            price_per_kwh=price_per_kwh,
            currency=currency,
        ),
        departments=departments,
        adapter_column=adapter_column,
        beam=beam_settings(decode, **beam),
    )
    with _resumable(out), console.progress() as on_progress:
        report = compare(
            data,
            split,
            base_ref=base,
            runs=run or (),
            packages=package or (),
            names=name or (),
            out=out,
            incumbent=incumbent,
            plan=plan,
            device=device,
            language=lang,
            audio=not no_audio,
            force=force,
            resume=resume,
            strict=strict,
            on_progress=on_progress,
        )
    from tpactl.eval.shown import notes

    for note in notes(report):
        console.warn(note)
    if json:
        console.print_json(report)
        return
    _show(report)
    if out is not None:
        console.facts({"page      ": str(out / "report.html")})
    console.next_step(*_next(report, data, out))


@contextmanager
def _resumable(out: Path | None) -> Iterator[None]:
    """Say after an interrupt what was kept of the evaluation."""
    try:
        yield
    except KeyboardInterrupt:
        from tpactl.eval.journal import num_kept

        if out is not None and (batches := num_kept(out)):
            console.warn(f"{batches} batches are kept; --resume goes on from there")
        raise


_FIGURES = ("WER % (95 %)", "CER %", "S / D / I", "RTF", "trained", "size")
_WIDTH_OF_TABLE = 76
"""On narrower terminals each system gets a block of its own."""


def _show(report: Report) -> None:
    from tpactl.eval.shown import cells, facts, findings

    if console.out.width >= _WIDTH_OF_TABLE:
        console.out.print(_table(report))
        console.out.print()
    else:
        for system in report.systems:
            console.facts(dict(zip(("system", *_FIGURES), cells(system), strict=True)))
            console.out.print()
    if found := findings(report):
        console.facts(found)
        console.out.print()
    console.facts(facts(report))


def _table(report: Report) -> Table:
    from rich.text import Text

    from tpactl.eval.shown import cells

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
    if report.departments is not None:
        adapters = " ".join(
            f"--{'run' if Path(each.source).is_dir() else 'package'} {quote(each.source)}"
            for each in report.departments.adapters
        )
        return f"tpactl transcribe --manifest FILE --base {quote(report.base_ref)} {adapters}", ""
    runs = [system for system in report.systems if system.kind == "run"]
    if not runs:
        packages = [system for system in report.systems if system.kind == "package"]
        if packages:
            file, base = quote(packages[0].source), quote(report.base_ref)
            return f"tpactl verify {file} --base {base}", ""
        train = f"tpactl train --data {quote(str(data))} --base {quote(report.base_ref)} --out RUN"
        return train, ""
    best = min(runs, key=lambda system: system.wer.rate)
    if out is None:
        return (
            f"tpactl eval --data {quote(str(data))} --split {quote(report.split)} "
            f"--run {quote(best.source)} --out REPORT"
        ), "keeps the report for the package"
    return (
        f"tpactl package {quote(best.source)} --name department/task --version 1.0.0 "
        f"--eval {quote(str(out))} --out FILE.tpa"
    ), ""
