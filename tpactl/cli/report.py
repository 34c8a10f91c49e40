"""``tpactl report``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tpactl.cli import console


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What tpactl eval --out wrote.")],
    lang: Annotated[str, typer.Option("--lang", metavar="LANG", help="en or ja.")] = "en",
    no_audio: Annotated[
        bool,
        typer.Option("--no-audio", help="Leave recordings out, where they are confidential."),
    ] = False,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which system the page is about. Default: the one that the gate judged, else the "
            "adapter with the fewest errors.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file to write. Default: DIR/report.html."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the page of an evaluation again: another language, no audio, the gate's decision.

    One HTML file that needs nothing else. Equal inputs give equal bytes.

    Example:
      tpactl report REPORT --lang ja --out report.ja.html
    """
    from tpactl.eval.page.page import write_page

    made = write_page(folder, language=lang, audio=not no_audio, system=system, out=out)
    if json:
        console.print_json(
            {
                "schema_version": 1,
                "path": str(made.path.resolve()),
                "size_bytes": made.size_bytes,
                "utterances": made.utterances,
                "recordings": made.recordings,
            }
        )
        return
    console.out.print(
        f"wrote {made.path}: {made.size_bytes / 1e6:.1f} MB, {made.utterances} utterances to "
        f"search, {made.recordings} with a player",
        markup=False,
        soft_wrap=True,
    )
    where = shlex.quote(str(folder))
    console.next_step(
        f"tpactl package RUN --name department/task --version 1.0.0 --eval {where} --out FILE.tpa"
        if (folder / "gate.json").exists()
        else f"tpactl gate --report {where} --policy policy.yaml"
    )
