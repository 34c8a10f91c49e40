"""Department terms: was each one heard where it was said?

Counted on the alignment, not by searching: a term heard somewhere else in the utterance is no hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tpactl.scoring.alignment import Alignment


@dataclass(frozen=True)
class TermCounts:
    """How often a term was said, heard, and heard where it was said; add two to count over both."""

    in_reference: int = 0
    in_hypothesis: int = 0
    correct: int = 0

    @property
    def recall(self) -> float | None:
        """Of those said; ``None`` where it was never said."""
        return self.correct / self.in_reference if self.in_reference else None

    @property
    def precision(self) -> float | None:
        """Of those heard; ``None`` where it was never heard."""
        return self.correct / self.in_hypothesis if self.in_hypothesis else None

    def __add__(self, other: TermCounts) -> TermCounts:
        return TermCounts(
            self.in_reference + other.in_reference,
            self.in_hypothesis + other.in_hypothesis,
            self.correct + other.correct,
        )


def count_term(
    term: Sequence[str], reference: Sequence[str], hypothesis: Sequence[str], alignment: Alignment
) -> TermCounts:
    """Return how one utterance fares with one term.

    Args:
        term: its tokens (words, or characters), at least one.
        reference: the utterance's tokens.
        hypothesis: what was heard.
        alignment: of the two.

    Returns:
        A term is correct where all its tokens were recognised, and nothing was heard between them.
    """
    said = _places(term, reference)
    correct = 0
    for start in said:
        heard = alignment.matched[start : start + len(term)]
        first = heard[0]
        correct += first is not None and list(heard) == list(range(first, first + len(term)))
    return TermCounts(len(said), len(_places(term, hypothesis)), correct)


def _places(term: Sequence[str], tokens: Sequence[str]) -> list[int]:
    wanted = list(term)
    return [
        start
        for start in range(len(tokens) - len(wanted) + 1)
        if list(tokens[start : start + len(wanted)]) == wanted
    ]
