"""Reference and hypothesis word by word, as the error counts were made, and who is taken for whom.

The alignment is jiwer's, so its substitutions, deletions and insertions are those of the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import jiwer

from tpactl.formats.report import Metric

Kind = Literal["hit", "substitution", "deletion", "insertion"]


@dataclass(frozen=True)
class Pair:
    """A word of the reference and what was heard for it; either may be missing."""

    reference: str
    """Empty for an insertion."""
    heard: str
    """Empty for a deletion."""

    @property
    def kind(self) -> Kind:
        """What the pair counts as."""
        if self.reference == self.heard:
            return "hit"
        if not self.reference:
            return "insertion"
        return "substitution" if self.heard else "deletion"


def align(reference: str, hypothesis: str, metric: Metric = "wer") -> list[Pair]:
    """Return both normalised texts side by side, word by word; for CER character by character."""
    if metric == "cer":
        said, heard = " ".join(reference.split()), " ".join(hypothesis.split())
        return list(_pairs(list(said), list(heard), jiwer.process_characters(said, heard)))
    words, heard_words = reference.split(), hypothesis.split()
    output = jiwer.process_words(" ".join(words), " ".join(heard_words))
    return list(_pairs(words, heard_words, output))


def _pairs(
    said: list[str], heard: list[str], output: jiwer.WordOutput | jiwer.CharacterOutput
) -> Iterator[Pair]:
    for chunk in output.alignments[0]:
        left = said[chunk.ref_start_idx : chunk.ref_end_idx]
        right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        for index in range(max(len(left), len(right))):
            yield Pair(
                left[index] if index < len(left) else "",
                right[index] if index < len(right) else "",
            )


@dataclass
class Confusions:
    """How often each word was taken for another, lost, or heard where nobody said it."""

    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)

    def add(self, pairs: list[Pair]) -> None:
        """Count one utterance."""
        for pair in pairs:
            if pair.kind == "substitution":
                self.substitutions[pair.reference, pair.heard] += 1
            elif pair.kind == "deletion":
                self.deletions[pair.reference] += 1
            elif pair.kind == "insertion":
                self.insertions[pair.heard] += 1


def most_common(counts: Counter[tuple[str, str]], most: int) -> list[tuple[tuple[str, str], int]]:
    """Return the ``most`` frequent pairs, ties in alphabetical order, so that pages are equal."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]
