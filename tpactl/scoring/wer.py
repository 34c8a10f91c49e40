"""Word and character errors between references and hypotheses, pair by pair.

jiwer (RapidFuzz) finds a minimum-edit alignment, so totals equal any correct tool's. How a total
splits into substitutions, deletions and insertions is not unique, and tools break the ties each in
their own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jiwer

from tpactl.scoring.normalise import collapse_spaces


@dataclass(frozen=True)
class Counts:
    """Edits that turn a reference into a hypothesis; add two to count over both."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def reference_length(self) -> int:
        """Words (or characters) in the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors a reference word (or character): a fraction, above 1 when much was inserted.

        An empty reference has no rate; as in jiwer, its number of insertions stands in.
        """
        return self.errors / max(1, self.reference_length)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def count(references: Sequence[str], hypotheses: Sequence[str]) -> list[Counts]:
    """Return the word errors of each pair.

    Words are what stands between white space, of any kind and number. Either text may be empty: an
    empty reference counts insertions, an empty hypothesis deletions.
    """
    return [
        _from_alignment(jiwer.process_words(reference, hypothesis))
        for reference, hypothesis in _pairs(references, hypotheses)
    ]


def count_characters(references: Sequence[str], hypotheses: Sequence[str]) -> list[Counts]:
    """Return the character errors of each pair; a space between two words is a character."""
    return [
        _from_alignment(jiwer.process_characters(reference, hypothesis))
        for reference, hypothesis in _pairs(references, hypotheses)
    ]


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum; of none, all zeros."""
    return sum(counts, Counts())


def rate(counts: Iterable[Counts]) -> float:
    """Return all errors by all reference words: long utterances weigh more than short ones."""
    return total(counts).rate


def _pairs(references: Sequence[str], hypotheses: Sequence[str]) -> Iterable[tuple[str, str]]:
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        yield collapse_spaces(reference), collapse_spaces(hypothesis)


def _from_alignment(output: jiwer.WordOutput | jiwer.CharacterOutput) -> Counts:
    return Counts(output.hits, output.substitutions, output.deletions, output.insertions)
