"""The commands as typer sees them, for tests of help and documentation."""

from __future__ import annotations

from typing import Any

import typer

from tpactl.cli.app import COMMANDS, app, load
from tpactl.cli.help import split_docstring


def commands() -> dict[tuple[str, ...], Any]:
    """Return every command by its words after ``tpactl``; the program itself is ``()``."""
    found: dict[tuple[str, ...], Any] = {(): typer.main.get_command(app)}
    for name in COMMANDS:
        command = load(name)
        found[(name,)] = command
        for child, subcommand in getattr(command, "commands", {}).items():
            found[name, child] = subcommand
    return found


def examples(path: tuple[str, ...]) -> list[str]:
    """Return the command lines of a command's example, continued lines joined."""
    _, lines = split_docstring(commands()[path].help or "")
    return "\n".join(lines).replace("\\\n", " ").splitlines()
