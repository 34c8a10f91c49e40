"""For whom does it work? The test set parted by a column, and where each system errs most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tpactl.errors import UsageError
from tpactl.eval.measure import Measure, Scores
from tpactl.eval.testset import TestSet
from tpactl.formats.report import Metric, Slice, Slicing, WorstSlice, rate_of

FEWEST_WORDS = 50
"""A slice with fewer reference words (or characters) is shown, but called the worst only where no
slice has more: three words of one speaker are no finding."""
MOST_SLICES = 200

_DURATIONS_S = (2.0, 5.0, 10.0, 20.0)
_SNRS_DB = (0.0, 10.0, 20.0, 30.0)

Kind = Literal["metadata", "speaker", "duration", "snr"]


def check_columns(test_set: TestSet, columns: Sequence[str]) -> None:
    """Raise where a column cannot part the test set, before anything is recognised.

    Raises:
        UsageError: no utterance has such a column, or every other utterance its own value.
    """
    metadata = sorted({key for row in test_set.utterances for key in row.metadata})
    known = ["speaker", "duration", "snr", *metadata]
    faults = [f"no column {column!r}" for column in columns if column not in known]
    for column in set(columns) & set(known):
        values = {row.metadata.get(column) for row in test_set.utterances} - {None}
        if _kind(column) == "metadata" and len(values) > MOST_SLICES:
            faults.append(f"{column!r} has {len(values)} values; at most {MOST_SLICES} make slices")
    if faults:
        raise UsageError("; ".join(faults), f"slice by one of: {', '.join(known)}")


def slicings(
    measure: Measure,
    scores: Mapping[str, Scores],
    columns: Sequence[str],
    snr_db: Mapping[int, float | None],
) -> list[Slicing]:
    """Return the test set parted by each column.

    Args:
        measure: the references.
        scores: of all systems, by name.
        columns: metadata keys, ``speaker``, ``duration`` or ``snr``; checked already.
        snr_db: of each utterance, needed for ``snr``.
    """
    return [_slicing(measure.test_set, scores, column, snr_db) for column in dict.fromkeys(columns)]


def worst_slices(found: Sequence[Slicing], metric: Metric) -> list[WorstSlice]:
    """Return for each system the slice with the highest rate, over all slicings."""
    worst: dict[str, tuple[tuple[bool, float], WorstSlice]] = {}
    for slicing in found:
        for part in slicing.slices:
            for rates in part.results:
                rate = rate_of(rates, metric)
                if rate.reference_length == 0:
                    continue
                rank = (rate.reference_length >= FEWEST_WORDS, rate.rate)
                if rates.system not in worst or rank > worst[rates.system][0]:
                    worst[rates.system] = (
                        rank,
                        WorstSlice(
                            system=rates.system,
                            column=slicing.column,
                            value=part.value,
                            utterances=part.utterances,
                            speakers=part.speakers,
                            duration_s=part.duration_s,
                            fewest_words=FEWEST_WORDS,
                            metric=metric,
                            rate=rate,
                        ),
                    )
    return [slice_ for _, slice_ in worst.values()]


def _slicing(
    test_set: TestSet,
    scores: Mapping[str, Scores],
    column: str,
    snr_db: Mapping[int, float | None],
) -> Slicing:
    places = _places(test_set, column, snr_db)
    return Slicing(
        column=column,
        kind=_kind(column),
        without_value=len(test_set.utterances) - sum(map(len, places.values())),
        slices=[_slice(test_set, scores, value, indices) for value, indices in places.items()],
    )


def _kind(column: str) -> Kind:
    return column if column in ("speaker", "duration", "snr") else "metadata"  # type: ignore[return-value]


def _places(
    test_set: TestSet, column: str, snr_db: Mapping[int, float | None]
) -> dict[str, list[int]]:
    """Return value to the utterances that have it: ranges ascending, other values sorted."""
    found: dict[tuple[float, str], list[int]] = {}
    for index, row in enumerate(test_set.utterances):
        key: tuple[float, str] | None
        if column == "duration":
            key = _range(row.duration, _DURATIONS_S, "s")
        elif column == "snr":
            level = snr_db.get(index)
            key = None if level is None else _range(level, _SNRS_DB, "dB")
        else:
            value = row.speaker if column == "speaker" else row.metadata.get(column)
            key = (0, value) if value else None
        if key is not None:
            found.setdefault(key, []).append(index)
    return {label: found[place, label] for place, label in sorted(found)}


def _range(value: float, edges: Sequence[float], unit: str) -> tuple[float, str]:
    """Return where the range that ``value`` lies in stands among the ranges, and its label."""
    place = sum(value >= edge for edge in edges)
    if place == 0:
        return place, f"< {edges[0]:g} {unit}"
    if place == len(edges):
        return place, f">= {edges[-1]:g} {unit}"
    return place, f"{edges[place - 1]:g}-{edges[place]:g} {unit}"


def _slice(
    test_set: TestSet, scores: Mapping[str, Scores], value: str, indices: list[int]
) -> Slice:
    speakers = {test_set.speakers[index] for index in indices} - {None}
    return Slice(
        value=value,
        utterances=len(indices),
        speakers=len(speakers) or None,
        duration_s=sum(test_set.durations_s[index] for index in indices),
        results=[each.rates(name, indices) for name, each in scores.items()],
    )
