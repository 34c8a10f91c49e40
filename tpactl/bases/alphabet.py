"""Which characters a base's tokenizer can write, and text made of those alone."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache

_APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼ＇`´"), "'")


class Alphabet:
    """The characters a tokenizer writes.

    Args:
        round_trip: returns what the tokenizer gives back for one character, ``""`` where it cannot
            write it.
    """

    def __init__(self, round_trip: Callable[[str], str]) -> None:
        self._writes = cache(lambda character: round_trip(character) == character)

    def write(self, character: str) -> str | None:
        """Return ``character`` in the case the tokenizer knows, ``None`` where it knows none."""
        for form in (character, character.lower(), character.upper()):
            if len(form) == 1 and self._writes(form):
                return form
        return None

    def prepare(self, text: str) -> str:
        """Return ``text`` in this alphabet: known case, no other marks, single spaces.

        Marks of punctuation the tokenizer lacks become spaces. Letters and digits it lacks do too,
        which changes what is said: ask ``unknown`` first.
        """
        folded = unicodedata.normalize("NFC", text).translate(_APOSTROPHES)
        return " ".join("".join(self.write(c) or " " for c in folded).split())

    def unknown(self, text: str) -> set[str]:
        """Return the letters, digits and symbols of ``text`` the tokenizer cannot write.

        Punctuation and white space are not counted: nothing is lost with them.
        """
        folded = unicodedata.normalize("NFC", text).translate(_APOSTROPHES)
        return {c for c in folded if unicodedata.category(c)[0] in "LNMS" and self.write(c) is None}
