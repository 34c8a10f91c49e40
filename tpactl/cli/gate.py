"""``tpactl gate``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tpactl.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from tpactl.formats.gate import GateRecord, RuleResult


def gate(
    report: Annotated[
        Path, typer.Option("--report", metavar="DIR", help="What tpactl eval --out wrote.")
    ],
    policy: Annotated[
        Path,
        typer.Option("--policy", metavar="FILE", help="The rules, YAML; tpactl init writes one."),
    ],
    system: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which system is judged. Default: the only adapter."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print gate.json as well.")] = False,
) -> None:
    """Decide by a policy whether an evaluated adapter may be released.

    Prints each rule with the measured value and the limit, and writes the decision into DIR as
    gate.json. Exit code 0: every rule is met; 7: one is not. A rule whose figure the report lacks
    is not met.

    Example:
      tpactl gate --report REPORT --policy policy.yaml
    """
    from tpactl.errors import GateError
    from tpactl.gate.gate import gate as run

    record = run(report, policy, system=system)
    if json:
        console.print_json(record)
        if not record.passed:
            raise typer.Exit(GateError.exit_code)
        return
    console.out.print(rules_table(record))
    name, failed = record.system.name, record.failed
    if failed:
        raise GateError(
            f"{name} fails {len(failed)} of {len(record.rules)} rules of {record.policy.file}",
            "train or measure again, or let the owner of the policy change it; "
            f"the decision is in {report / 'gate.json'}",
            [f"{result.rule}: {_reason(result)}" for result in failed],
        )
    console.out.print(f"\n{name} meets every rule of {record.policy.file}", style="good")
    console.next_step(
        f"tpactl package RUN --name department/task --version 1.0.0 "
        f"--eval {shlex.quote(str(report))} --out FILE.tpa"
    )


def rules_table(record: GateRecord) -> Table:
    """Return the table of every rule: measured, limit, result."""
    from rich.text import Text

    table = console.table("rule", "measured", "limit", "", right=("measured", "limit"))
    for result in record.rules:
        table.add_row(
            result.rule,
            "not measured" if result.measured is None else shown(result, result.measured),
            f"{'at least' if result.bound == 'min' else 'at most'} {shown(result, result.limit)}",
            Text("passes", "good") if result.passed else Text("fails", "error"),
        )
    return table


def shown(result: RuleResult, value: float) -> str:
    """Return a figure of a rule in its unit."""
    match result.unit:
        case "share":
            return f"{100 * value:.1f}%"
        case "points":
            return f"{100 * value:+.2f} points"
        case "hours":
            return f"{value:.2f} h"
        case "megabytes":
            return f"{value:.2f} MB"
        case "factor":
            return f"{value:.3f}"
        case _:
            return f"{value:.0f}"


def _reason(result: RuleResult) -> str:
    if result.measured is None:
        return f"not measured: {result.detail}" if result.detail else "not measured"
    word = "below" if result.bound == "min" else "above"
    text = f"{shown(result, result.measured)} is {word} {shown(result, result.limit)}"
    return f"{text} ({result.detail})" if result.detail else text
