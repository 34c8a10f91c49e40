"""The YAML file of a normaliser's rules, which a department writes for its own transcripts."""

from __future__ import annotations

from typing import Literal

from tpactl.formats.files import Record


class Replacement(Record, kw_only=True):
    """A regular expression (Python's ``re``) and what takes its place."""

    pattern: str
    by: str = ""


class Rules(Record, kw_only=True):
    """What the file may hold. Applied in the order of the keys."""

    name: str | None = None
    """Shown with every figure; the file's name without it."""
    unicode: Literal["NFC", "NFKC"] | None = "NFC"
    replace: list[Replacement] = []
    """One after the other, on the text as it is then: before case and punctuation."""
    case: Literal["lower", "upper"] | None = None
    punctuation: Literal["remove"] | None = None
    """Punctuation and symbols become spaces."""
    keep: str = ""
    """Punctuation that stays all the same, such as ``'-``."""
    spelling: dict[str, str] = {}
    """Whole words, after all else: ``colour: color``; the value may be several words or none."""
