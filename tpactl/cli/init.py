"""``tpactl init``."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from tpactl.cli import console


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to make; files in it are kept.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Start a department: run file and release policy explained, audio layout, model card.

    Writes run.yaml, policy.yaml, model_card.md, README.md and audio/ into DIR; overwrites nothing.

    Example:
      tpactl init warehouse
    """
    from tpactl.flows.start import start

    written = start(folder)
    if json:
        console.print_json(
            {"schema_version": 1, "folder": str(folder.resolve()), "written": [*map(str, written)]}
        )
        return
    for name in written:
        console.out.print(f"wrote {folder / name}", markup=False, soft_wrap=True)
    console.out.print(
        f"\nPut recordings and their words into {folder / 'audio'}; its README.md says how.",
        markup=False,
        soft_wrap=True,
    )
    audio, data = (quote(str(folder / name)) for name in ("audio", "data"))
    console.next_step(f"tpactl prepare {audio} --out {data}")
