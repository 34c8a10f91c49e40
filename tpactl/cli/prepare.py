"""``tpactl prepare``: a folder of recordings to a data set."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tpactl.cli import console

if TYPE_CHECKING:
    from tpactl.formats.dataset import DataSetCard

SHOWN_SKIPPED = 20


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with metadata.csv or metadata.jsonl, with name.wav and name.txt pairs, "
            "or with NeMo manifests; or one manifest.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DATA", help="Where the data set goes.")],
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad files out instead of stopping.")
    ] = False,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Replace DATA; what it held stays in its split, unchanged audio is reused.",
        ),
    ] = False,
    dev_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the speakers for dev.")
    ] = 0.1,
    test_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the speakers for test.")
    ] = 0.1,
    split_by: Annotated[
        Literal["auto", "speaker", "utterance"],
        typer.Option(help="What stays together; auto: speakers where the source names them."),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Another seed is another division.")] = 0,
    test_from: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The split or folder of the source that becomes test. Where that leaves no dev, "
            "one is drawn from train, by speaker.",
        ),
    ] = None,
    dev_from: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The one that becomes dev; a part that becomes train as well is divided.",
        ),
    ] = None,
    train_from: Annotated[
        str | None, typer.Option(metavar="NAME", help="The one that becomes train.")
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of the transcript; else transcription, text, sentence or transcript.",
        ),
    ] = None,
    speaker_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Column of the speaker; else speaker, speaker_id or client_id."
        ),
    ] = None,
    audio_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Another folder that the source may name audio in."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode; else one a core.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn a folder of recordings and transcripts into a data set of 16 kHz mono FLAC.

    Speakers never occur in two of train, dev and test, and an utterance stays in its split when
    the folder grows. Splits that the folder has already (train, dev, test) are kept as they are.
    A file that is damaged, shorter than it declares, silent or without transcript is bad; all of
    them are listed.

    Example:
      tpactl prepare recordings --out data
    """
    from tpactl.prepare.prepare import prepare as write

    with console.progress() as progress:
        card = write(
            source,
            out,
            text_column=text_column,
            speaker_column=speaker_column,
            audio_root=audio_root,
            dev_fraction=dev_fraction,
            test_fraction=test_fraction,
            split_by=split_by,
            seed=seed,
            train_from=train_from,
            dev_from=dev_from,
            test_from=test_from,
            skip_bad=skip_bad,
            update=update,
            workers=workers,
            on_progress=progress,
        )
    if json:
        console.print_json(card)
        return
    _show(card, out)


def _show(card: DataSetCard, out: Path) -> None:
    numbers = ("utterances", "hours", "speakers", "characters")
    table = console.table("split", *numbers, right=numbers)
    rows = list(card.splits.items())
    for name, split in rows:
        speakers = "-" if split.speakers is None else f"{split.speakers:,}"
        table.add_row(
            name,
            f"{split.utterances:,}",
            f"{split.duration_s / 3600:.2f}",
            speakers,
            f"{split.characters:,}",
        )
    console.out.print(table)
    console.out.print()
    console.facts({"data set": str(out), "split by": card.split_by, "digest": card.digest[:19]})
    if card.skipped:
        console.warn(f"{len(card.skipped)} bad files were left out:")
        for skipped in card.skipped[:SHOWN_SKIPPED]:
            console.err.print(
                f"       {skipped.file}: {skipped.reason}", soft_wrap=True, markup=False
            )
        more = len(card.skipped) - SHOWN_SKIPPED
        if more > 0:
            console.err.print(f"       and {more} more, all in {out / 'dataset.json'}")
    for note in card.notes:
        console.warn(note)
    console.next_step(f"tpactl train --data {quote(str(out))} --base starter --out run")
