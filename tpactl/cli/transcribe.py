"""``tpactl transcribe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from tpactl.cli import beam_options, console


def transcribe(
    audio: Annotated[
        list[Path] | None,
        typer.Argument(metavar="AUDIO", help="Recordings: any format, rate and channel count."),
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
    decode: Annotated[
        Literal["greedy", "beam"] | None,
        typer.Option(help="Default: beam where --lm or --words is given."),
    ] = None,
    lm: Annotated[Path | None, beam_options.LM] = None,
    words: Annotated[Path | None, beam_options.WORDS] = None,
    beam_width: Annotated[int | None, beam_options.WIDTH] = None,
    lm_weight: Annotated[float | None, beam_options.LM_WEIGHT] = None,
    word_bonus: Annotated[float | None, beam_options.WORD_BONUS] = None,
    unknown_penalty: Annotated[float | None, beam_options.UNKNOWN_PENALTY] = None,
    words_weight: Annotated[float | None, beam_options.WORDS_WEIGHT] = None,
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

    beam = beam_settings(
        decode,
        lm=lm,
        words=words,
        width=beam_width,
        lm_weight=lm_weight,
        word_bonus=word_bonus,
        unknown_penalty=unknown_penalty,
        words_weight=words_weight,
    )
    with console.progress() as on_progress:
        found = run_flow(
            audio or (),
            base,
            packages=package or (),
            runs=run or (),
            only=adapter or (),
            manifest=manifest,
            beam=beam,
            device=device,
            on_progress=on_progress,
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
