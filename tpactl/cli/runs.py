"""``tpactl runs``: reads trainings back, unfinished ones too."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tpactl.cli import console

if TYPE_CHECKING:
    from tpactl.train.history import History

HELP = """Read trainings back, unfinished ones too: figures, curves, what differs.

Example:
  tpactl runs ls runs
"""

Places = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Runs, or folders with runs in them.")
]
Png = Annotated[
    Path | None, typer.Option("--png", metavar="FILE", help="Write the curves as an image.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def ls(places: Places, json: Json = False) -> None:
    """List trainings with their best dev word error rate; unfinished ones are marked.

    Example:
      tpactl runs ls runs
    """
    from tpactl.train.history import find

    found = find(places)
    if json:
        console.print_json({"schema_version": 1, "runs": [run.summary() for run in found]})
        return
    _table(found)
    unfinished = [run for run in found if not run.is_finished]
    if unfinished:
        console.next_step(f"tpactl train --out {quote(str(_out(unfinished[0])))} --resume")
    else:
        console.next_step(f"tpactl runs show {quote(str(found[0].folder))}")


def show(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="A run, finished or not.")],
    png: Png = None,
    json: Json = False,
) -> None:
    """Show one training: its measurements, and its curves (with the extra plot).

    Example:
      tpactl runs show runs/first
    """
    from tpactl.formats.files import to_builtins
    from tpactl.train.history import find

    history = find([run])[0]
    _save_png([history], png)
    if json:
        shown = history.summary()
        shown["config"] = to_builtins(history.config)
        shown["events"] = [
            {key: value for key, value in to_builtins(event).items() if value is not None}
            for event in history.events
        ]
        console.print_json({"schema_version": 1, **shown})
        return
    _table([history])
    table = console.table("step", "epoch", "dev WER", "dev CER", "", right=("step", "epoch"))
    for event in history.measurements:
        best = "best" if history.best is event else ""
        table.add_row(
            str(event.step), f"{event.epoch:.1f}", _rate(event.dev_wer), _rate(event.dev_cer), best
        )
    console.out.print(table)
    _draw([history])
    if history.is_finished:
        console.next_step(
            f"tpactl eval --data {quote(history.config.data or 'DATA')} --split test "
            f"--run {quote(str(history.folder))} --out report"
        )
    else:
        console.next_step(f"tpactl train --out {quote(str(_out(history)))} --resume")


def compare(places: Places, png: Png = None, json: Json = False) -> None:
    """Compare trainings: figures side by side, the settings that differ, curves in one picture.

    Example:
      tpactl runs compare runs/first runs/second --png curves.png
    """
    from tpactl.train.history import differing_settings, find

    found = find(places)
    differing = differing_settings(found)
    _save_png(found, png)
    if json:
        console.print_json(
            {
                "schema_version": 1,
                "runs": [run.summary() for run in found],
                "differing_settings": differing,
            }
        )
        return
    _table(found)
    if differing:
        table = console.table("setting", *[_out(run).name for run in found])
        for key, values in differing.items():
            table.add_row(key, *[str(value) for value in values])
        console.out.print(table)
    _draw(found)
    measured = [run for run in found if run.best is not None] or found
    best = min(measured, key=lambda run: run.summary()["best_dev_wer"] or 0.0)
    console.next_step(f"tpactl runs show {quote(str(best.folder))}")


def _table(found: list[History]) -> None:
    table = console.table(
        "run", "method", "trained", "dev WER", "best", "step", "time", "ended",
        right=("trained", "step", "time"),
    )  # fmt: skip
    for run in found:
        row: dict[str, Any] = run.summary()
        table.add_row(
            _out(run).name,
            row["method"],
            f"{row['trained_parameters']:,}",
            _rate(row["base_dev_wer"]),
            _rate(row["best_dev_wer"]),
            f"{row['step']}/{row['total_steps']}",
            f"{row['seconds']:,.0f} s",
            row["stopped_by"] or "unfinished",
        )
    console.out.print(table)


def _draw(found: list[History]) -> None:
    from tpactl.errors import MachineError
    from tpactl.train.curves import draw

    try:
        picture = draw(found, width=min(console.out.width, 100))
    except MachineError as error:
        console.warn(f"{error.problem}: {error.fix}")
        return
    console.out.print(picture, markup=False, soft_wrap=True)


def _save_png(found: list[History], png: Path | None) -> None:
    if png is not None:
        from tpactl.train.curves import save_png

        save_png(found, png)


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _out(run: History) -> Path:
    from tpactl.formats.run import UNFINISHED_SUFFIX

    return run.folder.with_name(run.folder.name.removesuffix(UNFINISHED_SUFFIX))


SUBCOMMANDS = (ls, show, compare)
