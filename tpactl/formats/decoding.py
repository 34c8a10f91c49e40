"""How texts were found in a model's output, where it was not greedily."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpactl.formats.files import Record


@dataclass(frozen=True)
class BeamSettings:
    """What the search is given and how it is set; the defaults are pyctcdecode's.

    Attributes:
        lm: an n-gram model of words: ``.arpa``, ``.arpa.gz``, or KenLM's ``.bin``.
        words: a file of terms to listen for, one a line.
        width: beginnings of a text kept at each frame.
        lm_weight: of the language model beside the acoustic model.
        word_bonus: for each word, against the model's liking for few of them.
        unknown_penalty: off each word that the language model does not know.
        words_weight: for each term.
    """

    lm: Path | None = None
    words: Path | None = None
    width: int = 100
    lm_weight: float = 0.5
    word_bonus: float = 1.5
    unknown_penalty: float = 10.0
    words_weight: float = 10.0


class BeamSearch(Record, kw_only=True):
    """Beam search as it was set, and what it was given."""

    width: int
    """Beginnings of a text that are kept at each frame."""
    lm: str | None
    """An n-gram language model's file; ``None`` where there was none."""
    lm_digest: str | None
    lm_weight: float
    """Of the language model's logarithm of probability beside the acoustic model's."""
    word_bonus: float
    """Added for each word, where there is a language model."""
    unknown_penalty: float
    """Off the language model's logarithm for each word it does not know."""
    words: str | None
    """A file of terms; ``None`` where there was none."""
    words_digest: str | None
    words_weight: float
    """Added for each term heard, and in part while it is spelt."""
    terms: int
    """So many were listened for."""
    unwritable: list[str]
    """Terms of the file that the base's alphabet cannot write, so that it can never hear them."""
    size_bytes: int
    """Of both files: what must be stored beside an adapter."""
    library: str
    """Name and version."""
