"""The options of beam search, alike in ``eval`` and ``transcribe``."""

from __future__ import annotations

import typer

LM = typer.Option(
    "--lm",
    metavar="FILE",
    help="An n-gram language model of words for beam search: .arpa, .arpa.gz, or .bin of KenLM.",
)
WORDS = typer.Option(
    "--words",
    metavar="FILE",
    help="Department terms for beam search to listen for, one a line, as for eval --glossary.",
)
WIDTH = typer.Option(
    "--beam-width",
    min=1,
    metavar="N",
    help="Beginnings of a text kept at each frame. Default: 100.",
)
LM_WEIGHT = typer.Option(
    "--lm-weight", min=0, metavar="WEIGHT", help="Of the language model. Default: 0.5."
)
WORD_BONUS = typer.Option(
    "--word-bonus", metavar="BONUS", help="For each word, with a language model. Default: 1.5."
)
UNKNOWN_PENALTY = typer.Option(
    "--unknown-penalty",
    min=0,
    metavar="PENALTY",
    help="Off each word that the language model does not know. Default: 10.",
)
WORDS_WEIGHT = typer.Option(
    "--words-weight", min=0, metavar="WEIGHT", help="Of each term of --words. Default: 10."
)
