"""The shapes of a training's batches before its first step, and the few that they are padded to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache, lru_cache

import torch

from tpactl.bases.base import Base
from tpactl.formats.run import RunConfig
from tpactl.train.batches import Course
from tpactl.train.examples import Split
from tpactl.train.prefix_cache import CachedPrefix
from tpactl.train.ranks import Ranks
from tpactl.train.shapes import Shape, plan_shapes

MOST_SHAPES = 32
"""Captured; more of them save padding and cost captures."""

MULTIPLE = 8
"""Frames after subsampling are rounded up to it; attention over others runs slower kernels."""


class BatchShapes:
    """How large the batches of a training are, as the model is given them.

    Args:
        base: computes the features' lengths after subsampling.
        train: what is learnt from, as each epoch hears it.
        config: fully resolved.
        cached: the frozen blocks' outputs, where the model is given those.
        ranks: the processes that share each batch.
    """

    def __init__(
        self,
        base: Base,
        train: Split,
        config: RunConfig,
        cached: CachedPrefix | None,
        ranks: Ranks,
    ) -> None:
        self._base = base
        self._train = train
        self._cached = cached
        self._parts = ranks.count * config.training.accumulate
        example = train.features([0])[0]
        self._per_second = len(example) / train.durations[0]
        self.tail = (base.d_model,) if cached is not None else tuple(example.shape[1:])
        """The sizes behind (rows, frames)."""
        self.dtype = example.dtype if cached is None else torch.bfloat16

    def shapes(self, course: Course) -> list[Shape]:
        """Return the shapes that hold the batches of ``course``."""
        return plan_shapes(self._batches(course), MOST_SHAPES)

    def frames_out(self, frames: int) -> int:
        """Return the frames after subsampling of ``frames`` given to the model."""
        if self._cached is not None:
            return frames
        return int(self._base.output_lengths(torch.tensor([frames]))[0])

    def _batches(self, course: Course) -> Iterator[tuple[int, int]]:
        durations = self._train.durations
        rounded = cache(self._rounded)
        speeds_of = lru_cache(1)(self._train.speeds)  # steps of an epoch follow each other
        for step in range(len(course)):
            epoch, batch = course[step]
            if self._cached is not None:
                frames = max(self._cached.cache.num_frames(batch, epoch))
            else:
                speeds = speeds_of(epoch)
                longest = max(durations[i] / speeds[i] for i in batch)
                # Feature extractors pad at the ends; a batch that is longer after all is
                # computed op by op.
                frames = math.ceil(longest * self._per_second * 1.002) + 2
            yield math.ceil(len(batch) / self._parts), rounded(frames)

    def _rounded(self, frames: int) -> int:
        """Return the most frames that are the next multiple after subsampling."""
        out = math.ceil(self.frames_out(frames) / MULTIPLE) * MULTIPLE
        if self._cached is not None:
            return out
        low, high = frames, frames
        while self.frames_out(high) <= out:
            high += high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.frames_out(middle) <= out else (low, middle)
        return low
