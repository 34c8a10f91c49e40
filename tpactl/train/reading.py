"""Reads what a training needs of a data set, and refuses one that cannot be trained on."""

from __future__ import annotations

from dataclasses import dataclass

from tpactl.bases.base import Base
from tpactl.errors import InputError, IntegrityError
from tpactl.formats.dataset import SPLITS, DataSet, digest_of
from tpactl.formats.progress import Progress
from tpactl.train.examples import LeftOut, Split, read_split, unwritable_characters


@dataclass(frozen=True)
class Material:
    """A base and what trainings on it learn from; several trainings may use one."""

    base: Base
    train: Split
    dev: Split
    notes: list[str]
    """What a reader should know about what was left out."""


def check_data(dataset: DataSet) -> None:
    """Refuse a data set without train or dev, or changed since it was prepared.

    Raises:
        InputError: a split has no utterances.
        IntegrityError: its digest is not that of its lines.
    """
    rows = {split: dataset.utterances(split) for split in SPLITS}
    for split in ("train", "dev"):
        if not rows[split]:
            raise InputError(
                f"{dataset.folder}: the {split} split has no utterances; training needs train "
                "and dev",
                "prepare more recordings, or more speakers, so that every split gets some",
            )
    if digest_of((split, row) for split in SPLITS for row in rows[split]) != dataset.card.digest:
        raise IntegrityError(
            f"{dataset.folder}: its .jsonl files are not those that dataset.json describes",
            "correct the source and prepare it again, so that the run names what it learnt from",
        )


def read_data(
    base: Base, dataset: DataSet, limit_bytes: int, on_progress: Progress | None
) -> Material:
    """Return train and dev as ``base`` reads them.

    Args:
        base: its alphabet and features are used.
        dataset: checked.
        limit_bytes: memory for the features of each split.
        on_progress: told after each utterance.

    Raises:
        InputError: nothing can be learnt from, or nothing be measured on.
    """
    train, left_out = read_split(
        base,
        dataset,
        "train",
        limit_bytes=limit_bytes,
        drop_unusable=True,
        on_progress=on_progress,
    )
    if not len(train):
        raise _nothing_to_learn(dataset, left_out)
    dev, _ = read_split(
        base,
        dataset,
        "dev",
        limit_bytes=limit_bytes,
        drop_unusable=False,
        on_progress=on_progress,
    )
    if not any(dev.references):
        raise InputError(
            f"{dataset.folder}/dev.jsonl: the base can write no character of it",
            "choose a base for this language and script, or correct the transcripts",
        )
    notes = left_out.notes()
    unwritable = unwritable_characters(base, dataset, "train")
    if unwritable:
        notes.append(
            f"the base cannot write {' '.join(sorted(unwritable)[:20])}: these characters are "
            "dropped from the transcripts; spell out what they stand for"
        )
    return Material(base, train, dev, notes)


def _nothing_to_learn(dataset: DataSet, left_out: LeftOut) -> InputError:
    return InputError(
        f"{dataset.folder}/train.jsonl: no utterance can be learnt from with this base",
        "choose a base for this language and script, or correct the transcripts",
        left_out.notes(),
    )
