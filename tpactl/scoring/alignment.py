"""Which word of a reference meets which word of a hypothesis, on a minimum-edit alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Alignment:
    """One of the alignments with the fewest errors.

    Attributes:
        matched: for each reference token the hypothesis token it was recognised as, ``None`` where
            it was substituted or deleted; ascending.
        inserted: (reference length + 1), tokens inserted before each reference token, and at last
            those behind the last one.
    """

    matched: tuple[int | None, ...]
    inserted: tuple[int, ...]

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return sum(place is None for place in self.matched) + sum(self.inserted)


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Alignment:
    """Return an alignment of two token lists; ``rapidfuzz`` chooses among equally good ones."""
    matched: list[int | None] = [None] * len(reference)
    inserted = [0] * (len(reference) + 1)
    for step in Levenshtein.opcodes(reference, hypothesis):
        if step.tag == "equal":
            for offset in range(step.src_end - step.src_start):
                matched[step.src_start + offset] = step.dest_start + offset
        elif step.tag == "insert":
            inserted[step.src_start] += step.dest_end - step.dest_start
    return Alignment(tuple(matched), tuple(inserted))
