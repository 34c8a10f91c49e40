"""A training that can go on: what ``train`` writes while it runs, and ``--resume`` reads.

RUN.unfinished/checkpoints/step-00000120/checkpoint.json        Checkpoint
RUN.unfinished/checkpoints/step-00000120/trained.safetensors    the trained tensors
RUN.unfinished/checkpoints/step-00000120/best.safetensors       those of the best step so far
RUN.unfinished/checkpoints/step-00000120/optimizer.safetensors  AdamW's moments, <parameter>.<name>
RUN.unfinished/checkpoints/step-00000120/generators.safetensors torch's random generators

The folder is renamed into place when every file is on disk, so it is whole or absent.
"""

from __future__ import annotations

from pathlib import Path

from tpactl.formats.files import Record
from tpactl.formats.run import RunConfig

SCHEMA_VERSION = 1

FOLDER = "checkpoints"
RECORD = "checkpoint.json"
PARTS = ("trained", "best", "optimizer", "generators")


class DevScore(Record, kw_only=True):
    """Error rates on dev, as fractions."""

    wer: float
    cer: float


class Checkpoint(Record, kw_only=True):
    """``checkpoint.json``: where a training stands, and whose it is."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    step: int
    """Updates made. With the seed in ``config`` it gives the place in the order of batches."""
    progress: float
    """0 to 1; it gives the learning rate and the next measurement of dev WER."""
    seconds: float
    """Of training before it, over all processes that continued it."""
    audio_s: float
    """Seconds of speech seen."""
    peak_memory_bytes: int
    first_loss: float | None
    """Of the first step; against it an exploding loss is told."""
    untrained: DevScore
    best: DevScore
    best_step: int
    measured_since_best: int
    """The patience used up."""
    events_bytes: int
    """Length of ``events.jsonl`` at this step; what stands behind it is made again."""
    config: RunConfig
    """Resolved."""
    base_digest: str
    data_digest: str
    augment_digests: dict[str, str] = {}
    """As in ``RunRecord``."""
    digests: dict[str, str]
    """File name to ``sha256:<hex>``."""


def folders(run: Path) -> list[Path]:
    """Return the checkpoints below an unfinished run, oldest first."""
    return sorted((run / FOLDER).glob("step-*"))


def name(step: int) -> str:
    """Return the folder's name of the checkpoint after ``step`` updates."""
    return f"step-{step:08}"
