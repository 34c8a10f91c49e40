"""Japanese and Chinese, compared character by character."""

from __future__ import annotations

import unicodedata

# Scripts whose words are not parted by spaces, by the first word of a character's Unicode name.
_BY_CHARACTER = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO", "IDEOGRAPHIC")
_WITHOUT_SPACES = (*_BY_CHARACTER, "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE")
_MOST = 0.5


def by_character(text: str) -> str:
    """Return ``text`` without white space, punctuation and symbols, in one width and case.

    Unicode's NFKC makes full-width Latin half-width, half-width kana full-width, and puts voicing
    marks and their kana together. The long-vowel mark and the iteration marks are letters and stay.

    >>> by_character("ＡＢ、ｶﾞ ー。")
    'abガー'
    """
    kept = [
        character
        for character in unicodedata.normalize("NFKC", text).casefold()
        if unicodedata.category(character)[0] in "LMN"
    ]
    # Case folding may part what NFKC had put together.
    return unicodedata.normalize("NFKC", "".join(kept))


def is_by_character(text: str) -> bool:
    """Return whether most letters of ``text`` are Chinese or Japanese."""
    return _share(text, _BY_CHARACTER) > _MOST


def has_no_word_spaces(text: str) -> bool:
    """Return whether most letters of ``text`` are of a script that parts no words by spaces."""
    return _share(text, _WITHOUT_SPACES) > _MOST


def _share(text: str, scripts: tuple[str, ...]) -> float:
    letters = [character for character in text if character.isalpha()]
    found = sum(unicodedata.name(c, "").split(" ")[0] in scripts for c in letters)
    return found / max(1, len(letters))
