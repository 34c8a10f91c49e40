"""The data set that ``prepare`` writes and ``train`` and ``eval`` read.

DATA/dataset.json                    DataSetCard
DATA/{train,dev,test}.jsonl          Utterance, one a line (NeMo's keys and ours)
DATA/audio/*.flac                    16 kHz, mono, 16 bit
DATA/sources.jsonl                   SourceFile, one a line; lets an update reuse audio
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tpactl.errors import InputError
from tpactl.formats.files import Record, canonical_json, read_json, read_jsonl, sha256_of

SCHEMA_VERSION = 1
SAMPLE_RATE = 16_000
"""Hz; every audio file of a data set has it."""

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class Utterance(Record, kw_only=True):
    """One recording and what was said in it.

    ``audio_filepath`` is relative to the data set's folder, with forward slashes.
    ``audio_digest`` is ``sha256:<hex>`` of the 16-bit samples, whatever file holds them.
    """

    audio_filepath: str
    duration: float
    """Seconds."""
    text: str
    id: str
    speaker: str | None = None
    audio_digest: str
    metadata: dict[str, str] = {}


class SplitSummary(Record, kw_only=True):
    """What one split holds."""

    utterances: int
    duration_s: float
    speakers: int | None
    """``None`` where the source names no speakers."""
    characters: int


class Skipped(Record, kw_only=True):
    """A source file that was left out, and why."""

    file: str
    reason: str


class SourceFile(Record, kw_only=True):
    """The file an utterance came from, as it was; unchanged ones need no second decoding."""

    id: str
    path: str
    size_bytes: int
    modified_ns: int
    offset_s: float | None = None
    length_s: float | None = None


class DataSetCard(Record, kw_only=True):
    """``dataset.json``: where the data came from, what it holds and its digest."""

    schema_version: int = SCHEMA_VERSION
    source: str
    source_form: str
    """``audiofolder``, ``pairs`` or ``nemo``."""
    digest: str
    """``sha256:<hex>`` over every utterance; see ``digest_of``."""
    splits: dict[str, SplitSummary]
    split_by: str
    """``speaker``, ``utterance`` or ``source`` (ready-made splits)."""
    skipped: list[Skipped] = []
    notes: list[str] = []
    """What whoever uses the data should know: no test split, a speaker in two splits."""
    tpactl_version: str


def digest_of(utterances: Iterable[tuple[str, Utterance]]) -> str:
    """Return the content digest of (split, utterance) pairs, independent of their order.

    It covers split, id, text, speaker, metadata and audio content, not file names.
    """
    leaves = sorted(
        hashlib.sha256(
            canonical_json([split, row.id, row.text, row.speaker, row.audio_digest, row.metadata])
        ).hexdigest()
        for split, row in utterances
    )
    return sha256_of("\n".join(leaves).encode())


class DataSet:
    """A prepared data set on disk.

    Args:
        folder: what ``tpactl prepare`` wrote.

    Raises:
        InputError: it is no data set, or one of another schema version.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "dataset.json").is_file():
            raise InputError(
                f"{folder} is no prepared data set: it has no dataset.json",
                f"run: tpactl prepare {folder} --out DATA",
            )
        self.folder = folder
        self.card = read_json(folder / "dataset.json", DataSetCard)
        if self.card.schema_version != SCHEMA_VERSION:
            raise InputError(
                f"{folder}/dataset.json has schema version {self.card.schema_version}; "
                f"this tpactl reads {SCHEMA_VERSION}",
                "prepare the folder again with this version",
            )

    def utterances(self, split: str) -> list[Utterance]:
        """Return the split's utterances in file order; an absent split is empty."""
        path = self.folder / f"{split}.jsonl"
        return list(read_jsonl(path, Utterance)) if path.exists() else []

    def audio_path(self, utterance: Utterance) -> Path:
        """Return where the utterance's audio lies."""
        return self.folder / utterance.audio_filepath
