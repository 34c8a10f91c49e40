"""Writes ``docs/cli.md`` from the help of every command, so that it cannot say anything else.

python docs/generate_cli_reference.py            write it
python docs/generate_cli_reference.py --check    exit 1 where it is stale (CI does)
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from tpactl.cli import help as help_page
from tpactl.cli.app import COMMANDS, app, load
from tpactl.cli.console import THEME

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 88

HEAD = """# Command reference

The output of `--help` of every command, at {width} columns. `docs/generate_cli_reference.py`
writes this page; a test compares it with the program. What an exit code means stands in
[errors](errors.md).

"""


def page() -> str:
    """Return the whole page."""
    # A console of our own: no colour and one width, wherever this runs.
    help_page.out = Console(
        file=io.StringIO(), width=WIDTH, color_system=None, highlight=False, theme=THEME
    )
    parts = [HEAD.format(width=WIDTH)]
    entries = list(_entries())
    for title, _ in entries:
        parts.append(f"- [`{title}`](#{title.replace(' ', '-')})\n")
    for title, text in entries:
        parts.append(f"\n## {title}\n\n```text\n{text}\n```\n")
    return "".join(parts)


def _entries() -> Iterator[tuple[str, str]]:
    program: Any = typer.main.get_command(app)
    context = program.make_context("tpactl", [], resilient_parsing=True)
    yield "tpactl", help_page.render(program, context)
    for name in COMMANDS:
        command = load(name)
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        yield f"tpactl {name}", help_page.render(command, inner)
        for child, subcommand in getattr(command, "commands", {}).items():
            innermost = subcommand.make_context(child, [], parent=inner, resilient_parsing=True)
            yield f"tpactl {name} {child}", help_page.render(subcommand, innermost)


def main() -> None:
    """Write the page, or compare it."""
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text() != page():
            sys.exit(f"{PAGE} is stale; run: python docs/generate_cli_reference.py")
        return
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
