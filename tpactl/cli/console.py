"""What every command prints through: results on stdout, everything else on stderr.

out, err            rich consoles; colour and width follow NO_COLOR, the terminal and pipes
print_json(record)  the one JSON object of a ``--json`` run
fail(error)         ``error:``, details, ``fix:``
table(...)          the one table style
next_step(command)  the last line of a command
progress()          a bar with rate and time left, on a terminal only
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from tpactl.errors import TpactlError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID
    from rich.table import Table

NARROW = 60
"""Below so many columns a value stands under its name."""
PATIENCE_S = 1.0
"""Work shorter than this shows no progress bar."""

# The sixteen colours of the terminal's own palette only, so that light and dark both stay readable.
THEME = Theme(
    {
        "error": "bold red",
        "fix": "bold green",
        "warn": "bold yellow",
        "good": "green",
        "command": "bold cyan",
        "quiet": "dim",
        "best": "bold green",
        "bar.back": "dim",
        "bar.complete": "cyan",
        "bar.finished": "green",
        "progress.percentage": "default",
        "progress.remaining": "default",
    }
)

out = Console(theme=THEME, highlight=False, emoji=False)
err = Console(theme=THEME, highlight=False, emoji=False, stderr=True)


def print_json(record: Any) -> None:
    """Print ``record`` (a Struct, dict or list) as the one JSON object of this run."""
    import msgspec

    text = json.dumps(msgspec.to_builtins(record), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")


def fail(error: TpactlError, *, as_json: bool = False) -> None:
    """Print an error: two lines and its details on stderr, or one object on stdout."""
    if as_json:
        shown: dict[str, Any] = {
            "error": error.problem,
            "fix": error.fix,
            "exit_code": error.exit_code,
        }
        if error.details:
            shown["details"] = list(error.details)
        print_json(shown)
        return
    # No wrapping of ours: a log file keeps each on one line, a terminal wraps by itself.
    err.print(Text.assemble(("error: ", "error"), error.problem), soft_wrap=True)
    for line in error.details:
        err.print(Text(f"       {line}"), soft_wrap=True)
    err.print(Text.assemble(("fix:   ", "fix"), error.fix), soft_wrap=True)


def warn(text: str) -> None:
    """Print one line that the user should know about but that stops nothing."""
    err.print(Text.assemble(("note:  ", "warn"), text), soft_wrap=True)


def next_step(command: str, why: str = "") -> None:
    """Print the command that usually comes next."""
    out.print()
    line = Text.assemble(("next:  ", "quiet"), (command, "command"))
    if why:
        line.append(f"   {why}", "quiet")
    out.print(line, soft_wrap=True)


def table(*columns: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """Return an empty table in the house style.

    Args:
        columns: the headings.
        title: a line above it.
        right: headings whose column holds figures.
    """
    from rich import box
    from rich.table import Table

    made = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        pad_edge=False,
        show_edge=False,
    )
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return made


def facts(rows: Mapping[str, str]) -> None:
    """Print named values, one below the other, each name once in front of its lines.

    Lines are broken for a terminal only, and never inside a word: a digest can be copied and cut
    out of a pipe.
    """
    indent = max(map(len, rows)) + 2 if out.width >= NARROW else 2
    for name, value in rows.items():
        if out.width < NARROW:
            out.print(Text(name, "quiet"), soft_wrap=True)
        label = name if out.width >= NARROW else ""
        for line in _lines(value, out.width - indent):
            out.print(Text.assemble((label.ljust(indent), "quiet"), line), soft_wrap=True)
            label = ""


def _lines(value: str, width: int) -> Iterator[Text]:
    for line in value.splitlines() or [""]:
        fits = all(len(word) <= width for word in line.split())
        yield from Text(line).wrap(out, width) if out.is_terminal and fits else [Text(line)]


class ProgressBar:
    """Shows work to whoever waits; calling it is the ``Progress`` callback that rooms take.

    A line shows the stage it was told of last. Work that runs beside other work has a line of its
    own.

    Nothing appears unless stderr is a terminal and the work outlasts ``PATIENCE_S``; when it ends
    the bar goes away.
    """

    def __init__(self, console: Console = err) -> None:
        self._console = console
        self._lock = threading.RLock()
        self._notes: dict[str, str] = {}
        self._stages: dict[tuple[str, str], tuple[int, int]] = {}
        """Line and stage to what of it is done, and its total."""
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._display: RichProgress | None = None
        self._closed = False
        self._timer: threading.Timer | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._timer = threading.Timer(PATIENCE_S, self._open)
            self._timer.daemon = True
            self._timer.start()

    def __call__(self, stage: str, done: int, total: int, *, line: str = "") -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished; total 0 is unknown."""
        with self._lock:
            self._stages[line, stage] = (done, total)
            self._draw(line, stage)

    def note(self, text: str, *, line: str = "") -> None:
        """Show ``text`` behind the line's bar, for example loss and dev WER."""
        with self._lock:
            self._notes[line] = text
            shown = [stage for known, stage in self._stages if known == line]
            if shown:
                self._draw(line, shown[-1])

    def close(self) -> None:
        """Take the bar away; further reports are ignored."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._closed = True
            display, self._display = self._display, None
        # Outside the lock: stop() joins the thread that draws.
        if display is not None:
            display.stop()

    def _open(self) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            SpinnerColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                if not speed:
                    return Text("")
                return Text(f"{speed:.3g}/s" if speed >= 1 else f"{1 / speed:.3g} s each", "quiet")

        columns: list[ProgressColumn] = [
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None if self._console.width >= 72 else 8),
            TextColumn("{task.completed:.0f}/{task.fields[shown_total]}"),
        ]
        if self._console.width >= 60:
            columns.append(Rate())
        columns.append(TimeRemainingColumn(compact=True))
        if self._console.width >= 72:
            columns.append(TextColumn("{task.fields[note]}", style="quiet"))
        with self._lock:
            if self._closed:
                return
            self._display = Progress(
                *columns, console=self._console, transient=True, expand=self._console.width >= 72
            )
            for line, stage in self._stages:
                self._draw(line, stage)
            self._display.start()

    def _draw(self, line: str, stage: str) -> None:
        if self._display is None:
            return
        done, total = self._stages[line, stage]
        if (line, stage) not in self._tasks:
            for (known, _), earlier in self._tasks.items():
                if known == line:
                    self._display.update(earlier, visible=False)
            self._tasks[line, stage] = self._display.add_task(stage, shown_total="?", note="")
        self._display.update(
            self._tasks[line, stage],
            completed=done,
            total=total or None,
            shown_total=total or "?",
            note=self._notes.get(line, ""),
            visible=True,
        )


@contextmanager
def progress() -> Iterator[ProgressBar]:
    """Yield a ``Progress`` callback for a room; the bar goes away when the block ends."""
    bar = ProgressBar()
    try:
        yield bar
    finally:
        bar.close()
