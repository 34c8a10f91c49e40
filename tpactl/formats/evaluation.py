"""An evaluation that is not finished: what ``eval`` keeps while it works, and ``--resume`` reads.

REPORT.unfinished/evaluation.json    Evaluation
REPORT.unfinished/heard.jsonl        HeardBatch, one a line
"""

from __future__ import annotations

from tpactl.formats.decoding import BeamSearch
from tpactl.formats.files import Record


class Evaluation(Record, kw_only=True):
    """What is evaluated; two are the same where all of it is equal."""

    tpactl_version: str
    data_digest: str
    split: str
    general_digest: str | None
    general_split: str | None
    base_digest: str
    systems: dict[str, str]
    """Name to digest, in the order of the report."""
    conditions: list[str]
    """``test``, ``general``, ``single`` and one of each disturbance."""
    device: str
    with_snr: bool
    adapter_column: str | None = None
    """That names who hears each utterance, where the systems are those of departments."""
    beam: BeamSearch | None = None
    """How every system's logits were also searched."""


class Turn(Record, kw_only=True):
    """What one system heard in one batch."""

    system: str
    texts: list[str]
    """In the order of the batch's indices."""
    seconds: float
    """Features, forward pass and decoding of the whole batch, as if no other system were there."""
    memory_bytes: int | None


class HeardBatch(Record, kw_only=True):
    """One batch under one condition."""

    condition: str
    indices: list[int]
    """Of the utterances, in the order of the split."""
    turns: list[Turn]
    snr_db: list[float | None] | None = None
