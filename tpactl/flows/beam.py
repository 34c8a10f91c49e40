"""From what a command line says about beam search to its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tpactl.errors import UsageError
from tpactl.formats.decoding import BeamSettings


def beam_settings(
    decode: Literal["greedy", "beam"] | None, **given: Path | float | None
) -> BeamSettings | None:
    """Return the settings, ``None`` for greedy decoding.

    Args:
        decode: ``None`` searches where a language model or terms are given.
        given: fields of ``BeamSettings``; those of ``None`` keep their defaults.

    Raises:
        UsageError: a field is given that would change nothing.
    """
    known = {name: value for name, value in given.items() if value is not None}
    searches = decode == "beam" or (decode is None and ("lm" in known or "words" in known))
    idle = [] if searches else list(known)
    if searches and "lm" not in known:
        idle += [name for name in ("lm_weight", "word_bonus", "unknown_penalty") if name in known]
    if searches and "words" not in known:
        idle += [name for name in ("words_weight",) if name in known]
    if idle:
        flags = ", ".join(_FLAGS[name] for name in idle)
        if searches:
            raise UsageError(f"{flags}: nothing to weigh", "give --lm FILE or --words FILE too")
        raise UsageError(f"{flags}: only for beam search", "give --decode beam too")
    return BeamSettings(**known) if searches else None  # type: ignore[arg-type]


_FLAGS = {
    "lm": "--lm",
    "words": "--words",
    "width": "--beam-width",
    "lm_weight": "--lm-weight",
    "word_bonus": "--word-bonus",
    "unknown_penalty": "--unknown-penalty",
    "words_weight": "--words-weight",
}
