"""What the page needs of ``utterances.jsonl``: read twice, line by line, never held as a whole.

The first pass counts errors and confusions; the second fetches the utterances that are shown.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from tpactl.eval.page.alignment import Confusions, Pair, align
from tpactl.formats.files import read_jsonl
from tpactl.formats.report import Metric, UtteranceResult


@dataclass
class Survey:
    """The errors of every utterance under every system, and confusions of those asked for.

    Attributes:
        errors: by the report's metric, of each system and utterance id, in the data set's order.
        confusions: by system.
    """

    errors: dict[str, dict[str, int]] = field(default_factory=dict)
    confusions: dict[str, Confusions] = field(default_factory=dict)

    def worst(self, system: str, most: int) -> list[str]:
        """Return the ids with the most errors under ``system``, at least one each, worst first."""
        return _first(
            {id_: errors for id_, errors in self.errors.get(system, {}).items() if errors}, most
        )

    def most_harmed(self, system: str, base: str, most: int) -> list[str]:
        """Return the ids with the most errors that ``system`` makes and ``base`` does not."""
        before = self.errors.get(base, {})
        harm = {
            id_: errors - before[id_]
            for id_, errors in self.errors.get(system, {}).items()
            if id_ in before and errors > before[id_]
        }
        return _first(harm, most)


@dataclass(frozen=True)
class Hearing:
    """What one system made of an utterance."""

    pairs: list[Pair]
    errors: int
    text: str
    """What was heard, as one line; by the normaliser's rules."""


@dataclass
class ShownUtterance:
    """An utterance that the page shows, with what every system heard."""

    id: str
    speaker: str | None
    duration_s: float
    reference: str
    """As it was written, before the normaliser."""
    length: int
    """Words of the normalised reference; characters where the metric is CER."""
    hearings: dict[str, Hearing] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """``rtl`` where the first letter that has a direction runs from right to left."""
        for character in self.reference:
            kind = unicodedata.bidirectional(character)
            if kind in ("L", "R", "AL"):
                return "ltr" if kind == "L" else "rtl"
        return "ltr"


def survey(path: Path, confusions_of: Collection[str], metric: Metric) -> Survey:
    """Return the counts over the whole file.

    Raises:
        InputError: a line is no ``UtteranceResult``.
    """
    found = Survey(confusions={system: Confusions() for system in confusions_of})
    for row in read_jsonl(path, UtteranceResult):
        errors = _errors(row, metric)
        found.errors.setdefault(row.system, {})[row.id] = errors
        if errors and row.system in found.confusions:
            pairs = align(row.reference_normalised, row.hypothesis_normalised, metric)
            found.confusions[row.system].add(pairs)
    return found


def fetch(path: Path, ids: Collection[str], metric: Metric) -> dict[str, ShownUtterance]:
    """Return the utterances of these ids, in the order of the file."""
    wanted = set(ids)
    found: dict[str, ShownUtterance] = {}
    for row in read_jsonl(path, UtteranceResult):
        if row.id not in wanted:
            continue
        pairs = align(row.reference_normalised, row.hypothesis_normalised, metric)
        shown = found.setdefault(
            row.id,
            ShownUtterance(
                id=row.id,
                speaker=row.speaker,
                duration_s=row.duration_s,
                reference=row.reference,
                length=sum(bool(pair.reference) for pair in pairs),
            ),
        )
        shown.hearings[row.system] = Hearing(pairs, _errors(row, metric), row.hypothesis_normalised)
    return found


def _errors(row: UtteranceResult, metric: Metric) -> int:
    if metric == "cer" and row.character_errors is not None:
        return row.character_errors
    return row.substitutions + row.deletions + row.insertions


def _first(scores: dict[str, int], most: int) -> list[str]:
    # Sorting is stable: equal scores stay in the data set's order, so that equal inputs give equal
    # pages.
    return sorted(scores, key=lambda id_: -scores[id_])[:most]
