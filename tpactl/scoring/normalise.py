"""Named rules that make a reference and a hypothesis comparable before errors are counted.

An error rate means nothing without the rules behind it, so each has a name and a version (ours and
its library's) that travel with every figure. All of them end with single spaces, because the error
counts split words on spaces only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tpactl.errors import UsageError
from tpactl.scoring.cjk import by_character, has_no_word_spaces, is_by_character
from tpactl.scoring.rules import read_rules

DEFAULT = "whisper-english"


@dataclass(frozen=True)
class Normaliser:
    """Rules with a name and a version; call it with a text.

    ``version`` is ours (raised when what we do around the library changes) and, after a plus sign,
    the library's.
    """

    name: str
    version: str
    _apply: Callable[[str], str]

    def __call__(self, text: str) -> str:
        """Return ``text`` under the rules, its words parted by single spaces."""
        return collapse_spaces(self._apply(text))

    @property
    def label(self) -> str:
        """``name@version``, as every scored utterance carries it."""
        return f"{self.name}@{self.version}"


def collapse_spaces(text: str) -> str:
    """Return the words of ``text`` parted by single spaces, none at the ends."""
    return " ".join(text.split())


def _whisper_english() -> Normaliser:
    """OpenAI Whisper's English rules, as most published English figures use them.

    They spell numbers as digits, expand contractions and unify British and American spelling. They
    also do what a reader may not expect: bracketed text vanishes, "oh no" becomes "0 no", "O'Brien"
    "0 brien", "john's" "john is". Both texts get the same treatment.

    Source: Radford et al. 2022, arXiv:2212.04356, appendix C.
    """
    from whisper_normalizer.english import EnglishTextNormalizer

    return Normaliser("whisper-english", _version(1), EnglishTextNormalizer())


def _whisper_basic() -> Normaliser:
    """Whisper's rules for any language: lower case, no punctuation, no bracketed text.

    Diacritics are kept, combining marks too: without them Thai or Hindi would lose its vowels.
    """
    from whisper_normalizer.basic import BasicTextNormalizer

    return Normaliser("whisper-basic", _version(1), BasicTextNormalizer(preserve_marks=True))


def _cjk() -> Normaliser:
    """Japanese and Chinese by character: NFKC, one width, no punctuation, no spaces.

    Without spaces a text is one word, so its word errors say little: read the character errors.
    """
    return Normaliser("cjk", "1", by_character)


def _none() -> Normaliser:
    """No rules: case, punctuation and spelling all count."""
    return Normaliser("none", "1", collapse_spaces)


def _version(ours: int) -> str:
    return f"{ours}+whisper-normalizer-{version('whisper-normalizer')}"


NORMALISERS: dict[str, Callable[[], Normaliser]] = {
    "whisper-english": _whisper_english,
    "whisper-basic": _whisper_basic,
    "cjk": _cjk,
    "none": _none,
}
"""Name to maker; the makers import their library only when called."""

RULES_SUFFIXES = (".yaml", ".yml")


def get_normaliser(name: str) -> Normaliser:
    """Return the normaliser of that name, or of the rules in that YAML file.

    Raises:
        UsageError: there is none of that name.
        InputError: the file holds no rules.
    """
    if name.endswith(RULES_SUFFIXES):
        return Normaliser(*read_rules(Path(name)))
    if name not in NORMALISERS:
        raise UsageError(
            f"unknown normaliser {name!r}",
            f"choose one of: {', '.join(NORMALISERS)}, or a file of rules (.yaml)",
        )
    return _named(name)


@cache
def _named(name: str) -> Normaliser:
    return NORMALISERS[name]()


def fitting(references: Iterable[str]) -> str:
    """Return the name of the normaliser for references of this script.

    ``cjk`` for Japanese and Chinese, ``whisper-basic`` for other scripts without word spaces, else
    ``DEFAULT``.
    """
    text = "".join(references)
    if is_by_character(text):
        return "cjk"
    return "whisper-basic" if has_no_word_spaces(text) else DEFAULT
