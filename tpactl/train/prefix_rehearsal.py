"""What a cached prefix would take and let the steps compute, before anything of it is on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.prefix import Hidden
from tpactl.bases.base import Base
from tpactl.bases.recognise import plan_batches
from tpactl.formats.run import RunConfig
from tpactl.train.examples import Split
from tpactl.train.prefix_cache import (
    BATCH_S,
    CachedPrefix,
    augmented_copies,
    expected_bytes,
    expected_frames,
    find_cut,
    heard,
)


@dataclass(frozen=True)
class TriedPrefix:
    """What came of the largest batch that goes through the frozen blocks."""

    cached: CachedPrefix
    """Frames of the right shapes that hold nothing."""
    num_bytes: int
    """On disk, dev included."""
    seconds: float
    """To read that batch and to compute what leaves the frozen blocks."""
    numbers: int
    """In its features."""
    audio_s: float
    """Of it, padding not counted."""


def try_prefix(
    base: Base,
    adapter: Adapter | None,
    config: RunConfig,
    train: Split,
    dev: Split,
    *,
    some_dev: Sequence[int],
    autocast: Callable[[], AbstractContextManager[None]],
) -> TriedPrefix:
    """Compute the largest batch of a cached prefix; the peak of memory is then that of its making.

    Args:
        base: with ``adapter`` active.
        adapter: what is trained; ``None`` where that is the whole model.
        config: fully resolved.
        train: augmented.
        dev: whole.
        some_dev: the utterances of it that are measured.
        autocast: makes the context in which a step computes.

    Raises:
        UsageError: the prefix cannot be cached.
    """
    settings = config.training
    copies = augmented_copies(settings, config.augment)
    cut = find_cut(base, adapter)
    batches = plan_batches(train.durations, BATCH_S, one_length=False)
    # The first pass through a model also pays for its kernels.
    for batch in (batches[-1], batches[0]):
        started = time.perf_counter()
        features = heard(base, train, batch, 0, bool(settings.spec_augment), settings.seed)
        with autocast():
            cut.compute(features).frames.to(torch.bfloat16).cpu()
        seconds = time.perf_counter() - started
    return TriedPrefix(
        cached=CachedPrefix(
            cut,
            _Blank(expected_frames(base, train), train, base.d_model, torch.bfloat16),
            _Blank(expected_frames(base, dev.select(some_dev)), dev, base.d_model, torch.float32),
        ),
        num_bytes=expected_bytes(base, train, dev, copies),
        seconds=seconds,
        numbers=features.inputs.numel(),
        audio_s=sum(train.durations[i] for i in batches[0]),
    )


class _Blank:
    """Frames that hold zeros: what a step costs depends on their shape alone."""

    def __init__(self, frames: list[int], split: Split, d_model: int, dtype: torch.dtype) -> None:
        self._frames = frames
        self._split = split
        self._d_model = d_model
        self._dtype = dtype

    def num_frames(self, batch: Sequence[int], epoch: int) -> list[int]:
        speeds = self._split.speeds(epoch)
        return [math.ceil(self._frames[i] / speeds[i]) for i in batch]

    def read(self, batch: Sequence[int], epoch: int) -> Hidden:
        lengths = self.num_frames(batch, epoch)
        frames = torch.zeros(len(batch), max(lengths), self._d_model, dtype=self._dtype)
        return Hidden(frames, torch.tensor(lengths))
