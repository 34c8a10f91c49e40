"""The options of beam search, the same in every command that decodes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

OPTIONS: Mapping[str, Any] = {
    "lm": Annotated[
        Path | None,
        typer.Option(
            "--lm",
            metavar="FILE",
            help="An n-gram language model of words for beam search: .arpa, .arpa.gz, or .bin of "
            "KenLM.",
        ),
    ],
    "words": Annotated[
        Path | None,
        typer.Option(
            "--words",
            metavar="FILE",
            help="Department terms for beam search to listen for, one a line, as for eval "
            "--glossary.",
        ),
    ],
    "width": Annotated[
        int | None,
        typer.Option(
            "--beam-width",
            min=1,
            metavar="N",
            help="Beginnings of a text kept at each frame. Default: 100.",
        ),
    ],
    "lm_weight": Annotated[
        float | None,
        typer.Option(
            "--lm-weight", min=0, metavar="WEIGHT", help="Of the language model. Default: 0.5."
        ),
    ],
    "word_bonus": Annotated[
        float | None,
        typer.Option(
            "--word-bonus",
            metavar="BONUS",
            help="For each word, with a language model. Default: 1.5.",
        ),
    ],
    "unknown_penalty": Annotated[
        float | None,
        typer.Option(
            "--unknown-penalty",
            min=0,
            metavar="PENALTY",
            help="Off each word that the language model does not know. Default: 10.",
        ),
    ],
    "words_weight": Annotated[
        float | None,
        typer.Option(
            "--words-weight", min=0, metavar="WEIGHT", help="Of each term of --words. Default: 10."
        ),
    ],
}
"""Argument of ``flows.beam.beam_settings`` to the option that gives it."""

Given = Mapping[str, Any]
"""What the command line gave of ``OPTIONS``; ``None`` where it gave nothing."""


def with_beam_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` with the options where its parameter ``beam``, a ``Given``, stands."""
    own = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        parameters += _options() if name == "beam" else [parameter]

    @wraps(command)
    def with_options(**given: Any) -> None:
        beam = {name: given.pop(name) for name in OPTIONS}
        command(**given, beam=beam)

    # What typer reads the options from.
    with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options


def _options() -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, kind, default=None, annotation=option)
        for name, option in OPTIONS.items()
    ]
