"""Runs a command and draws the terminal it leaves behind, light and dark, for the README.

    python docs/render_terminal.py                     docs/images/quickstart-{light,dark}.svg
    python docs/render_terminal.py NAME COMMAND ...    docs/images/NAME-{light,dark}.svg

The figures in the picture are those of that run on that machine.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich import terminal_theme
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tpactl.cli import console
from tpactl.cli.app import run

FOLDER = Path(__file__).with_name("images")
WIDTH = 96

LIGHT = TerminalTheme(
    (252, 252, 250),
    (36, 41, 47),
    [
        (36, 41, 47), (176, 32, 38), (17, 112, 53), (140, 92, 0),
        (9, 82, 165), (120, 60, 170), (10, 105, 120), (101, 109, 118),
    ],
    [
        (87, 96, 106), (176, 32, 38), (17, 112, 53), (140, 92, 0),
        (9, 82, 165), (120, 60, 170), (10, 105, 120), (36, 41, 47),
    ],
)  # fmt: skip
THEMES = {"light": LIGHT, "dark": terminal_theme.SVG_EXPORT_THEME}

# The picture loads nothing from anywhere: rich's own format fetches a font.
FORMAT = re.sub(
    r"@font-face \{\{.*?\}\}|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
).replace("Fira Code,", "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono,")


def record(arguments: list[str]) -> Console:
    """Run a command with a recording console as its stdout."""
    screen = Console(
        record=True, file=io.StringIO(), force_terminal=True, width=WIDTH, theme=console.THEME,
        highlight=False, emoji=False, color_system="standard",
    )  # fmt: skip
    console.out = screen
    screen.print(Text.assemble(("$ ", "dim"), (" ".join(["tpactl", *arguments]), "bold")))
    code = run(arguments)
    if code:
        sys.exit(code)
    return screen


def main() -> None:
    """Draw the picture that the arguments ask for."""
    name, *arguments = sys.argv[1:] or ["quickstart", "quickstart"]
    FOLDER.mkdir(exist_ok=True)
    # A short name: absolute paths are part of the picture.
    folder = Path(tempfile.gettempdir(), "demo")
    folder.mkdir()
    try:
        os.chdir(folder)
        screen = record(arguments)
    finally:
        shutil.rmtree(folder)
    for kind, theme in THEMES.items():
        picture = screen.export_svg(
            title="", theme=theme, code_format=FORMAT, unique_id=name, clear=False
        )
        (FOLDER / f"{name}-{kind}.svg").write_text(picture)


if __name__ == "__main__":
    main()
