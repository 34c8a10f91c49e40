"""``tpactl doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tpactl.cli import console
from tpactl.errors import MachineError

MARKS = {"ok": ("ok", "good"), "note": ("note", "warn"), "broken": ("BROKEN", "error")}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at this machine and installation: versions, devices, memory, extras, shipped files.

    Exit code 6 when something that tpactl needs is broken.

    Example:
      tpactl doctor
    """
    from tpactl.flows.diagnose import diagnose

    found = diagnose(Path.cwd())
    if json:
        console.print_json(found)
        raise typer.Exit(0 if found.ok else MachineError.exit_code)
    shown = console.table("", "", "")
    shown.show_header = False
    shown.columns[0].no_wrap = True
    for check in found.checks:
        value = Text(check.value)
        if check.fix:
            value.append(f"\n{check.fix}", "fix")
        shown.add_row(Text(*MARKS[check.state]), Text(check.name), value)
    console.out.print(shown)
    broken = [check for check in found.checks if check.state == "broken"]
    if broken:
        raise MachineError(
            f"{len(broken)} thing(s) that tpactl needs are broken: "
            + ", ".join(check.name for check in broken),
            broken[0].fix or "install tpactl again",
        )
    console.next_step("tpactl quickstart")
