"""``tpactl inspect``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tpactl.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from tpactl.formats.gate import GateRecord
    from tpactl.formats.report import Rate, Report
    from tpactl.package.read import OpenedPackage


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE.tpa", help="The package.")],
    card: Annotated[bool, typer.Option("--card", help="Print the model card alone.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a package holds: parts, base, training, evaluation, model card.

    Every digest is checked first, as by verify without a base.

    Example:
      tpactl inspect picking-1.0.0.tpa
    """
    from tpactl.package.read import open_package

    package = open_package(file)
    if json:
        console.print_json(_as_json(package))
    elif card:
        console.out.print(package.card, markup=False, soft_wrap=True, end="")
    else:
        _show(package)
        where = shlex.quote(package.record.base_ref)
        console.next_step(f"tpactl verify {shlex.quote(str(file))} --base {where}")


def parts_table(package: OpenedPackage) -> Table:
    """Return the table of a package's parts."""
    table = console.table("part", "digest", "bytes", right=("bytes",))
    for part in package.parts:
        table.add_row(part.name, part.digest[:19], f"{part.size:,}")
    table.add_section()
    table.add_row("the whole file", "", f"{package.size_bytes:,}")
    return table


def _as_json(package: OpenedPackage) -> dict[str, object]:
    return {
        "schema_version": 1,
        "digest": package.digest,
        "size_bytes": package.size_bytes,
        "parts": [
            {"name": p.name, "digest": p.digest, "size": p.size, "media_type": p.media_type}
            for p in package.parts
        ],
        "record": package.record,
        "adapter_config": package.config,
        "evaluation": package.evaluation,
        "gate": package.decision,
        "card": package.card,
    }


def _show(package: OpenedPackage) -> None:
    record, config, made_from = package.record, package.config, package.record.provenance
    rows = [
        ("name", record.name),
        ("version", record.version),
        ("digest", package.digest),
        ("base", f"{record.base_ref} ({record.base.model_class})"),
        ("base digest", record.base.digest),
        ("adapter", f"{config.peft_type}, {config.num_parameters:,} parameters, "
         f"{len(config.target_modules)} modules and {', '.join(config.modules_to_save)}"),
        ("trained on", f"{len(made_from.train_audio_digests)} recordings, "
         f"{len(made_from.train_speakers)} named speakers, {made_from.data_digest[:19]}"),
        ("training", f"{made_from.train_seconds:.0f} s, best step {made_from.best_step}, dev WER "
         f"{made_from.base_dev_wer:.1%} -> {made_from.best_dev_wer:.1%}"),
        ("made by", f"tpactl {made_from.tpactl_version}, format {record.format_version}"),
    ]  # fmt: skip
    for key, value in rows:
        console.out.print(Text.assemble((f"{key:<13}", "quiet"), value), soft_wrap=True)
    console.out.print()
    console.out.print(parts_table(package))
    if package.evaluation is None:
        console.out.print(Text.assemble("\n", ("unevaluated", "warn"), ": no test results inside"))
    else:
        _show_evaluation(package.evaluation)
    if package.decision is not None:
        _show_decision(package.decision)
    console.out.print("\nmodel card: README.md, printed by --card", style="quiet")


def _show_evaluation(report: Report) -> None:
    console.out.print(
        f"\nevaluated on {report.utterances} utterances, {report.duration_s / 60:.1f} min, split "
        f"{report.split}, {report.normaliser.name} {report.normaliser.version}",
        markup=False,
        soft_wrap=True,
    )
    table = console.table("system", "WER %", "CER %", "parameters", right=("parameters",))
    for system in report.systems:
        trained = "" if system.trained_parameters is None else f"{system.trained_parameters:,}"
        table.add_row(Text(system.name), _percent(system.wer), _percent(system.cer), trained)
    console.out.print(table)
    for leak in report.leaks:
        console.out.print(
            f"{leak.system} was trained on part of this test: {leak.utterances} utterances share a "
            "speaker, words or audio with its training",
            style="warn",
            markup=False,
            soft_wrap=True,
        )


def _show_decision(decision: GateRecord) -> None:
    from tpactl.cli.gate import rules_table

    said = ("passed", "good") if decision.passed else ("not passed", "error")
    used = decision.policy
    console.out.print(
        Text.assemble("\nrelease gate: ", said, f", {used.file} ({used.digest[:19]})"),
        soft_wrap=True,
    )
    console.out.print(rules_table(decision))


def _percent(rate: Rate) -> str:
    shown = f"{100 * rate.rate:.1f}"
    if rate.low is not None and rate.high is not None:
        shown += f" ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
    return shown
