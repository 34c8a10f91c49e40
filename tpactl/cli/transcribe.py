"""``tpactl transcribe``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from msgspec.structs import replace
from rich.text import Text

from tpactl.cli import console
from tpactl.cli.beam_options import Given, with_beam_options
from tpactl.errors import InputError, UsageError
from tpactl.formats.files import cannot_write

_STANDARD_INPUT = Path("-")


@with_beam_options
def transcribe(
    audio: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="AUDIO",
            help="Recordings: any format, rate and channel count; - is one from standard input.",
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(help="starter, a model directory, or HUB_ID[@REVISION].")
    ] = "starter",
    package: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A .tpa file, or a folder of such files; may be repeated."
        ),
    ] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A folder of tpactl train; may be repeated."),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Use only this one of the adapters given: department[/task[@version]] of a "
            "package, folder name of a run; may be repeated.",
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or JSON lines in place of AUDIO: the columns audio_filepath (or file) and "
            "adapter, which names one of the adapters given, or is empty for the base.",
        ),
    ] = None,
    *,
    decode: Annotated[
        Literal["greedy", "beam"] | None,
        typer.Option(help="Default: beam where --lm or --words is given."),
    ] = None,
    beam: Given,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn recordings into text: with the base alone, with each adapter, or each with its own.

    The base is loaded once. With more than one adapter, each recording has one line an adapter;
    with a manifest, each is heard with the adapter of its row, all of them in shared batches.
    Recordings over 60 s are cut at quiet moments, 15 to 30 s apart; a word spoken across a cut may
    be lost.

    Example:
      tpactl transcribe call.wav --base starter --package adapter.tpa
    """
    from tpactl.flows.beam import beam_settings
    from tpactl.flows.transcribe import transcribe as run_flow

    with _standard_input(audio or ()) as recordings, console.progress() as on_progress:
        found = run_flow(
            recordings,
            base,
            packages=package or (),
            runs=run or (),
            only=adapter or (),
            manifest=manifest,
            beam=beam_settings(decode, **beam),
            device=device,
            on_progress=on_progress,
        )
    given = dict(zip(map(str, recordings), map(str, audio or ()), strict=True))
    found = replace(
        found,
        transcripts=[replace(t, audio=given.get(t.audio, t.audio)) for t in found.transcripts],
    )
    if found.beam is not None and found.beam.unwritable:
        console.warn(f"the base cannot write, and never hears: {', '.join(found.beam.unwritable)}")
    if found.alone:
        console.warn(
            f"{', '.join(found.alone)}: no batch is shared with other adapters "
            f"({next(iter(found.alone.values()))}); the texts are the same, it takes longer"
        )
    if json:
        console.print_json(found)
        return
    several = len({transcript.adapter for transcript in found.transcripts}) > 1
    for transcript in found.transcripts:
        line = Text(transcript.audio, "quiet")
        if several:
            line.append(f" [{transcript.adapter or 'base'}]", "command")
        console.out.print(line + Text(": ", "quiet") + Text(transcript.text), soft_wrap=True)


@contextmanager
def _standard_input(audio: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield ``audio`` with a file of what standard input holds in the place of ``-``."""
    if _STANDARD_INPUT not in audio:
        yield list(audio)
        return
    if sys.stdin.isatty():
        raise UsageError(
            "- reads a recording from standard input, which is this terminal",
            "pipe one in: ffmpeg -i call.mp4 -f flac - | tpactl transcribe -",
        )
    with tempfile.TemporaryDirectory(prefix="tpactl-") as folder:
        file = Path(folder) / "standard-input"
        try:
            with file.open("wb") as copy:
                shutil.copyfileobj(sys.stdin.buffer, copy)
        except OSError as error:
            raise cannot_write(file, error) from error
        try:
            yield [file if path == _STANDARD_INPUT else path for path in audio]
        except InputError as error:
            # Nobody knows the copy's name.
            if not error.problem.startswith(str(file)):
                raise
            problem = f"standard input{error.problem.removeprefix(str(file))}"
            raise InputError(problem, "pipe in a whole recording", error.details) from error
