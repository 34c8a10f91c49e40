"""The page's words in English and Japanese: ``strings/LANGUAGE.yaml``, the same keys in both."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from tpactl.errors import UsageError

_FOLDER = Path(__file__).with_name("strings")
LANGUAGES = ("en", "ja")


class Words:
    """The page's words in one language.

    Args:
        language: ``en`` or ``ja``.

    Raises:
        UsageError: any other.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise UsageError(
                f"no report in the language {language!r}", f"choose one of: {', '.join(LANGUAGES)}"
            )
        self.language = language
        self._texts = texts(language)

    def __call__(self, key: str, **values: object) -> str:
        """Return the text ``key`` with ``values`` put in; ``n`` chooses between one and many."""
        text = self._texts[key]
        if isinstance(text, dict):
            text = text["one" if values["n"] == 1 else "other"]
        return text.format(**values)

    def together(self, *sentences: str) -> str:
        """Return sentences as one text; Japanese has no space between them."""
        return ("" if self.language == "ja" else " ").join(sentences)

    def percent(self, rate: float, decimals: int = 1) -> str:
        """Return a fraction as a percentage: ``12.3%``."""
        return f"{100 * rate:.{decimals}f}%"

    def points(self, difference: float) -> str:
        """Return the difference of two rates in percentage points, with its sign."""
        return self("points", value=f"{100 * difference:+.1f}".replace("-", "−"))

    def size(self, num_bytes: float) -> str:
        """Return a size in the unit that suits it."""
        for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if num_bytes >= factor:
                shown = num_bytes / factor
                return f"{shown:.0f} {unit}" if shown >= 100 else f"{shown:.1f} {unit}"
        return f"{num_bytes:.0f} B"

    def duration(self, seconds: float) -> str:
        """Return a length of time in the unit that suits it."""
        for key, factor in (("hours", 3600.0), ("minutes", 60.0)):
            if seconds >= factor:
                return self(key, value=f"{seconds / factor:.1f}".removesuffix(".0"))
        return self("seconds", value=f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}")


@cache
def texts(language: str) -> dict[str, str | dict[str, str]]:
    """Return every text of a language by its key."""
    content = (_FOLDER / f"{language}.yaml").read_text(encoding="utf-8")
    loaded: dict[str, str | dict[str, str]] = yaml.safe_load(content)
    return loaded
