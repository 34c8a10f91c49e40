"""The utterances to evaluate on, checked before a model is loaded for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tpactl.errors import InputError, IntegrityError
from tpactl.formats.dataset import SPLITS, DataSet, Utterance, digest_of

_MOST_SHOWN = 10


@dataclass(frozen=True)
class TestSet:
    """One split of a data set."""

    __test__ = False  # pytest would take it for a test

    data: DataSet
    split: str
    utterances: list[Utterance]

    @cached_property
    def paths(self) -> list[Path]:
        """Where the audio lies, utterance by utterance."""
        return [self.data.audio_path(utterance) for utterance in self.utterances]

    @cached_property
    def durations_s(self) -> list[float]:
        """Seconds of each utterance."""
        return [utterance.duration for utterance in self.utterances]

    @cached_property
    def speakers(self) -> list[str | None]:
        """Who speaks each utterance; ``None`` where nobody is named."""
        return [utterance.speaker for utterance in self.utterances]

    @property
    def speaker_count(self) -> int | None:
        """How many speakers are named; ``None`` where nobody is."""
        return len(set(self.speakers) - {None}) or None

    @property
    def duration_s(self) -> float:
        """Seconds of all utterances."""
        return sum(self.durations_s)


def read_test_set(folder: Path, split: str) -> TestSet:
    """Return the split, if it is what ``tpactl prepare`` wrote.

    Raises:
        InputError: no data set, no such split, or audio files are missing.
        IntegrityError: texts or speakers were changed since it was prepared.
    """
    data = DataSet(folder)
    rows: dict[str, list[Utterance]] = {name: data.utterances(name) for name in SPLITS}
    utterances = rows.get(split, [])
    if not utterances:
        held = [f"{name} ({len(found)})" for name, found in rows.items() if found]
        raise InputError(
            f"{folder} has no utterances in a split {split!r}; it has: {', '.join(held) or 'none'}",
            "choose one of these with --split, or prepare the folder again with a test split",
        )
    if digest_of((name, row) for name, found in rows.items() for row in found) != data.card.digest:
        raise IntegrityError(
            f"{folder}: its .jsonl files are not those that dataset.json describes",
            "correct the source and prepare it again, so that reports name what they measured",
        )
    test_set = TestSet(data, split, utterances)
    missing = [str(path) for path in test_set.paths if not path.is_file()]
    if missing:
        more = len(missing) - _MOST_SHOWN
        shown = missing[:_MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise InputError(
            f"{folder}: {len(missing)} of {len(utterances)} audio files of {split} are missing",
            "copy the data set whole, or prepare it again",
            shown,
        )
    return test_set
