"""How ``--help`` looks: usage, prose, arguments, options, commands, and a runnable example last.

Plain text where stdout is no terminal; two columns where there is room, else one.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from tpactl.cli.console import out

WIDEST = 100
"""Columns; prose in longer lines is hard to read."""
NARROW = 64
"""Below so many columns an option's help stands under the option."""
WIDEST_NAME = 30
"""Columns of an option with its value's type; longer ones fold."""


def render(command: Any, context: Any) -> str:
    """Return the whole help of ``command``."""
    prose, example = split_docstring(command.help or "")
    with out.capture() as captured:
        pieces = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
        _print(Text.assemble(("Usage: ", "bold"), (context.command_path, "bold"), f" {pieces}"))
        for paragraph in prose:
            out.print()
            _print(Text(paragraph))
        sections: dict[str, list[tuple[str, str]]] = {}
        for part in command.get_params(context):
            row = part.get_help_record(context)
            if row and part.param_type_name == "argument":
                # Its name says what it is; the type behind it would only repeat that.
                sections.setdefault("Arguments", []).append((row[0].partition(" <")[0], row[1]))
            elif row:
                name = row[0].replace(" range>", ">")
                sections.setdefault("Options", []).append((name, row[1]))
        if isinstance(command, TyperGroup):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                title = getattr(child, "rich_help_panel", None) or "Commands"
                meaning = split_docstring((child and child.help) or "")[0][0]
                sections.setdefault(title, []).append((name, meaning))
        widest = max(len(name) for rows in sections.values() for name, _ in rows)
        for title in sorted(sections, key=lambda title: title == "Options"):
            _section(title, sections[title], min(widest, WIDEST_NAME))
        if example:
            out.print()
            out.print("Example", style="bold")
            for line in example:
                out.print(Text(f"  {line}", "command"), soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


class Command(TyperCommand):
    """A command with this help."""

    def get_help(self, ctx: Any) -> str:
        """Return the whole help."""
        return render(self, ctx)


class Group(TyperGroup):
    """A group of commands with this help."""

    def get_help(self, ctx: Any) -> str:
        """Return the whole help."""
        return render(self, ctx)


def split_docstring(text: str) -> tuple[list[str], list[str]]:
    """Return a docstring's paragraphs, each on one line, and the lines of its example."""
    prose, _, example = f"\n{inspect.cleandoc(text)}".partition("\nExample:")
    paragraphs = [" ".join(part.split()) for part in prose.strip().split("\n\n")]
    return paragraphs, textwrap.dedent(example.strip("\n")).splitlines()


def _section(title: str, rows: list[tuple[str, str]], width: int) -> None:
    out.print()
    out.print(title, style="bold")
    if out.width < NARROW:
        for name, meaning in rows:
            _print(Padding(Text(name, "command"), (0, 0, 0, 2)))
            _print(Padding(Text(" ".join(meaning.split())), (0, 0, 0, 6)))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="command", width=width, overflow="fold")
    grid.add_column()
    for name, meaning in rows:
        grid.add_row(Text(name), Text(" ".join(meaning.split())))
    _print(Padding(grid, (0, 0, 0, 2)))


def _print(shown: Any) -> None:
    out.print(shown, width=min(out.width, WIDEST))
