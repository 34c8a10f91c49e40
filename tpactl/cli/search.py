"""``tpactl search``: a data set and a base to the run file of the best adapter found."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tpactl.cli import console

if TYPE_CHECKING:
    from tpactl.formats.search import SearchRecord


def search(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA|FOLDER",
            help="A prepared data set, or an audio folder, which is prepared into SEARCH-data "
            "first.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="BASE", help="starter (the default), a model directory, or HUB_ID[@REVISION]."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="SEARCH", help="Where the search goes.")] = Path(
        "search"
    ),
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="90s, 20m, 1h: of all runs of this search together. Without this and --trials "
            "it is 20m.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Most configurations, the default one among them."),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What may vary; tpactl init writes one to begin with."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="RUN.YAML", help="A run file: the default that is searched around."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any key of a run file, for all trials alike."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Another seed draws other trials and trains them otherwise.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (the default), cpu, cuda, cuda:N or mps.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Throw away the search at SEARCH and begin anew.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Search for the adapter's width, blocks, learning rate and augmentation.

    The default configuration is trained first, to its end. Others are drawn, compared early, and
    the best of them trained further. What wins is compared with the default on speakers of dev that
    steered nothing, and is kept where it is no worse: SEARCH/best.yaml is a run file for tpactl
    train. The test split is not touched. After Ctrl-C or a kill the same command goes on; after its
    end, a larger budget does.

    Example:
      tpactl search --data data --base starter --budget 20m --out search
    """
    from tpactl.flows.search.budget import Limits, seconds_of
    from tpactl.flows.search.search import search as run_search
    from tpactl.train.settings import read

    given = budget or (None if trials else "20m")
    limits = Limits(None if given is None else seconds_of(given), trials)
    flags = {
        "data": None if data is None else str(data),
        "base": base,
        "device": device,
        "training.seed": seed,
    }
    configuration = read(config, flags, settings or [])
    with console.progress() as progress:
        record = run_search(configuration, out, limits, space=space, force=force, watcher=progress)
    if json:
        console.print_json(record)
        return
    _show(record, out)


def _show(record: SearchRecord, out: Path) -> None:
    from tpactl.errors import MachineError
    from tpactl.flows.search.picture import draw
    from tpactl.flows.search.table import COLUMNS, effort, outcome, rows
    from tpactl.formats.search import BEST, PLOT, TABLE

    table = console.table(*COLUMNS, right=COLUMNS[1:3])
    for row in rows(record):
        table.add_row(*row)
    console.out.print(table)
    try:
        console.out.print(
            draw(record, width=min(console.out.width, 100)), markup=False, soft_wrap=True
        )
    except MachineError as error:
        console.warn(f"{error.problem}: {error.fix}")
    console.out.print()
    written = [name for name in (BEST, TABLE, PLOT) if (out / name).is_file()]
    console.facts(
        {
            "outcome": outcome(record),
            "effort": effort(record),
            "written": ", ".join(str(out / name) for name in written),
        }
    )
    for note in record.notes:
        console.warn(note)
    console.next_step(f"tpactl train --config {quote(str(out / BEST))} --out run")
