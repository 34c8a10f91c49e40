"""The cached prefix: what leaves the frozen lower part of a base, for every utterance of a split.

PREFIX/<digest>/index.json           PrefixIndex: what it was made of, and where each utterance lies
PREFIX/<digest>/frames.bf16          of train: bfloat16, little-endian, (frames, d_model) in a row
PREFIX/<digest>/frames.f32           of dev: the same in float32, so that its error rates stay exact

The folder's name is the digest of everything its content depends on, so another base, other audio,
another augmentation or another cut is another folder.
"""

from __future__ import annotations

from typing import Literal

from tpactl.formats.augment import AugmentSettings
from tpactl.formats.files import Record, canonical_json, sha256_of

SCHEMA_VERSION = 2
INDEX_FILE = "index.json"
FRAMES_FILES = {"bfloat16": "frames.bf16", "float32": "frames.f32"}


class PrefixKey(Record, kw_only=True):
    """Everything the frames depend on."""

    schema_version: int = SCHEMA_VERSION
    base_digest: str
    data_digest: str
    split: Literal["train", "dev"]
    audio_files: str
    """Digest of the utterances' ids, file sizes and times of change."""
    num_blocks: int
    """Blocks of the base that belong to the prefix."""
    precision: str
    """Of the computation."""
    dtype: Literal["bfloat16", "float32"]
    """Of what is kept."""
    batch_s: float
    """Seconds of audio computed at once, padding included; other batches round differently."""
    copies: int
    """Augmented copies of each utterance."""
    spec_augment: bool
    speed_perturbation: bool
    augment: AugmentSettings | None
    """The digests of the folders' content in the place of their paths; ``None`` where it asks for
    nothing."""
    seed: int

    @property
    def digest(self) -> str:
        """Return ``sha256:<hex>``."""
        return sha256_of(canonical_json(self))


class PrefixIndex(Record, kw_only=True):
    """Where the frames of each copy of each utterance lie."""

    key: PrefixKey
    d_model: int
    starts: list[list[int]]
    """(copies, utterances): the first row of each."""
    lengths: list[list[int]]
    """(copies, utterances): its rows."""
