"""What ``eval`` writes and the release step reads.

DIR/report.json                      Report
DIR/utterances.jsonl                 UtteranceResult, one a line
DIR/report.md                        the summary in words and a table
"""

from __future__ import annotations

from typing import Literal

from tpactl.formats.files import Record

SCHEMA_VERSION = 1


class Rate(Record, kw_only=True):
    """An error rate with its counts and its 95 % interval (fractions, not percent)."""

    rate: float
    low: float | None
    """``None`` where there are too few utterances or speakers for an interval."""
    high: float | None
    substitutions: int
    deletions: int
    insertions: int
    hits: int
    reference_length: int


class SystemResult(Record, kw_only=True):
    """One system on the whole set."""

    name: str
    kind: Literal["base", "run", "package", "full"]
    source: str
    """Path of the run or package, or the base's name."""
    digest: str
    """Of the base, the adapter's weights file or the package's manifest."""
    wer: Rate
    cer: Rate
    raw_wer: Rate
    """Without any normaliser but white space."""
    real_time_factor: float
    """Seconds of computation a second of audio."""
    seconds: float
    trained_parameters: int | None
    size_bytes: int | None
    """What must be stored for this system beside the base."""
    train_seconds: float | None
    peak_memory_bytes: int | None
    """Of the training."""


class Normaliser(Record, kw_only=True):
    """By which rules both texts were made comparable."""

    name: str
    version: str


class Interval(Record, kw_only=True):
    """How the intervals were made."""

    method: str
    unit: Literal["speaker", "utterance"]
    resamples: int
    seed: int
    confidence: float = 0.95


class Leak(Record, kw_only=True):
    """What a system was trained on of the audio it is tested on, by the digests its run stored."""

    system: str
    utterances: int
    """Of the test: they share speaker, text or audio with the training."""
    speakers: int
    """Speakers of the test who are also in the training."""
    same_text: int
    """Utterances whose words occur in the training."""
    same_audio: int
    """Utterances whose very samples occur in the training."""


class Report(Record, kw_only=True):
    """``report.json``."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    data_path: str
    data_digest: str
    split: str
    utterances: int
    speakers: int | None
    duration_s: float
    empty_references: int
    normaliser: Normaliser
    interval: Interval
    base_ref: str
    base_digest: str
    systems: list[SystemResult]
    leaks: list[Leak] = []
    """Of each system that shares something with the test; its figures flatter it."""
    device: str


class UtteranceResult(Record, kw_only=True):
    """One utterance under one system."""

    system: str
    id: str
    speaker: str | None
    duration_s: float
    reference: str
    hypothesis: str
    reference_normalised: str
    hypothesis_normalised: str
    normaliser: str
    """``name@version``."""
    substitutions: int
    deletions: int
    insertions: int
    hits: int
