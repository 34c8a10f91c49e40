"""Parts the speakers of dev: one half steers the search, the other confirms what it found.

Reads a prepared data set and writes another beside the search, whose audio stays where it is. The
source's own test split is not looked at.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from tpactl import __version__
from tpactl.errors import InputError
from tpactl.formats.dataset import DataSet, DataSetCard, SplitSummary, Utterance, digest_of
from tpactl.formats.files import write_json, write_jsonl


@dataclass(frozen=True)
class Parted:
    """The halves of dev."""

    steering: list[Utterance]
    confirming: list[Utterance]
    unit: Literal["speaker", "utterance"]
    """What lies in one half alone."""

    def names(self, half: Sequence[Utterance]) -> list[str]:
        """Return the speakers, or the utterances where those are parted, of a half; sorted."""
        return sorted({_unit(row, self.unit) for row in half})


def part(data: DataSet) -> Parted:
    """Return dev in two halves of about the same duration that share no speaker.

    Where fewer than two speakers are named, or some are not, utterances are parted instead. The
    halves depend on the utterances alone, so the same data set gives the same ones again.

    Raises:
        InputError: dev has fewer than two utterances.
    """
    rows = data.utterances("dev")
    if len(rows) < 2:
        raise InputError(
            f"{data.folder}: its dev split has {len(rows)} utterances; a search needs two halves, "
            "one to choose by and one to confirm on",
            "prepare more recordings, or more speakers, so that dev gets some",
        )
    speakers = {row.speaker for row in rows}
    unit: Literal["speaker", "utterance"] = (
        "speaker" if None not in speakers and len(speakers) > 1 else "utterance"
    )
    groups: defaultdict[str, list[Utterance]] = defaultdict(list)
    for row in rows:
        groups[_unit(row, unit)].append(row)
    halves: tuple[list[Utterance], list[Utterance]] = ([], [])
    # The longest first, each to the shorter half, so that the halves come out alike.
    for name in sorted(groups, key=lambda name: (-_duration(groups[name]), _digest(name))):
        shorter = min(halves, key=_duration)
        shorter += groups[name]
    return Parted(*halves, unit)


def write_parted(data: DataSet, parted: Parted, folder: Path) -> DataSetCard:
    """Write the data set that trials train on: train, steering as dev, confirming as test.

    Args:
        data: the whole data set.
        parted: its dev.
        folder: where it goes; one that is there is brought up to date.

    Returns:
        Its card.
    """
    splits = {
        "train": data.utterances("train"),
        "dev": parted.steering,
        "test": parted.confirming,
    }
    for split, rows in splits.items():
        write_jsonl(folder / f"{split}.jsonl", [_seen_from(folder, data, row) for row in rows])
    card = DataSetCard(
        source=str(data.folder.resolve()),
        source_form=data.card.source_form,
        digest=digest_of((split, row) for split, rows in splits.items() for row in rows),
        splits={split: _summary(rows) for split, rows in splits.items()},
        split_by=parted.unit,
        notes=["made by tpactl search: dev and test are halves of the source's dev split"],
        tpactl_version=__version__,
    )
    write_json(folder / "dataset.json", card)
    return card


def _seen_from(folder: Path, data: DataSet, row: Utterance) -> Utterance:
    audio = data.audio_path(row).resolve()
    path = Path(os.path.relpath(audio, folder.resolve())).as_posix()
    return msgspec.structs.replace(row, audio_filepath=path)


def _summary(rows: Sequence[Utterance]) -> SplitSummary:
    return SplitSummary(
        utterances=len(rows),
        duration_s=round(_duration(rows), 3),
        speakers=len({row.speaker for row in rows if row.speaker is not None}) or None,
        characters=sum(len(row.text) for row in rows),
    )


def _unit(row: Utterance, unit: str) -> str:
    return row.id if unit == "utterance" or row.speaker is None else row.speaker


def _duration(rows: Sequence[Utterance]) -> float:
    return sum(row.duration for row in rows)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
