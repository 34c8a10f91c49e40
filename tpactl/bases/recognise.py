"""Recognise many files: batches by duration, texts in the order asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tpactl.audio.decode import decode
from tpactl.bases.base import Base, Features
from tpactl.bases.beam import Beam
from tpactl.formats.progress import Progress

BATCH_S = 120.0
"""Seconds of audio a batch, padding included."""
CPU_BATCH_S = 30.0
"""The same on a CPU, whose caches do not hold what a larger batch computes on the way."""


@dataclass(frozen=True)
class Recognition:
    """What was heard, and what hearing it cost."""

    texts: list[str]
    """In the order of the input."""
    seconds: float
    """Features, forward pass and decoding; reading the files not counted."""


def plan_batches(
    durations_s: Sequence[float], batch_s: float = BATCH_S, *, one_length: bool = False
) -> list[list[int]]:
    """Return indices in batches of like duration, longest first, so that memory peaks at once.

    Args:
        durations_s: of each utterance.
        batch_s: longest duration times batch size stays below it, unless one utterance alone is
            longer.
        one_length: put only equal durations together (for families whose padding leaks).
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(durations_s)), key=lambda i: -durations_s[i]):
        if batches:
            longest = durations_s[batches[-1][0]]
            fits = longest * (len(batches[-1]) + 1) <= batch_s
            if fits and (not one_length or longest == durations_s[index]):
                batches[-1].append(index)
                continue
        batches.append([index])
    return batches


def read_batches(
    base: Base, paths: Sequence[Path], durations_s: Sequence[float], batch_s: float = BATCH_S
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Yield (indices, waveforms) batch by batch; never more than one batch is in memory."""
    for indices in plan_batches(durations_s, batch_s, one_length=base.family.padding_leaks):
        yield indices, [decode(paths[index]).samples for index in indices]


@torch.inference_mode()
def recognise_features(base: Base, features: Features, beam: Beam | None = None) -> list[str]:
    """Return the transcripts of one batch, with whatever adapter is active.

    Args:
        base: a loaded base.
        features: the batch.
        beam: searches; ``None`` decodes greedily.
    """
    logits, lengths = base.logits(features)
    return (beam or base).decode(logits, lengths)


def recognise(
    base: Base,
    paths: Sequence[Path],
    durations_s: Sequence[float],
    *,
    batch_s: float = BATCH_S,
    on_progress: Progress | None = None,
) -> Recognition:
    """Return what ``base`` hears in ``paths``, with whatever adapter is active.

    Raises:
        InputError: a file cannot be decoded.
    """
    texts = [""] * len(paths)
    seconds = 0.0
    done = 0
    for indices, waves in read_batches(base, paths, durations_s, batch_s):
        started = time.perf_counter()
        for index, text in zip(
            indices, recognise_features(base, base.features(waves)), strict=True
        ):
            texts[index] = text
        seconds += time.perf_counter() - started
        done += len(indices)
        if on_progress is not None:
            on_progress("recognise", done, len(paths))
    return Recognition(texts, seconds)
