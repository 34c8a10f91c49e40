"""Recognition of the same audio by several systems, with the time each of them takes.

One batch is in memory at a time: its audio is decoded once, its features computed once, and every
adapter on the base takes its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tpactl.errors import IntegrityError
from tpactl.eval.testset import TestSet
from tpactl.formats.dataset import SAMPLE_RATE

if TYPE_CHECKING:
    from tpactl.adapters.adapter import Adapter
    from tpactl.bases.base import Base


@dataclass
class Heard:
    """What one system made of the test set."""

    texts: list[str]
    """In the order of the utterances."""
    seconds: float = 0.0
    """Features, forward pass and decoding; reading the files not counted."""


def hear(
    base: Base,
    systems: Mapping[str, Adapter | None],
    test_set: TestSet,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, Heard]:
    """Return what each system hears in every utterance.

    Args:
        base: a loaded base, or a fine-tuned model.
        systems: adapters on ``base`` by name; ``None`` is the base alone.
        test_set: checked already; its audio is compared with its digests while it is read.
        on_batch: called with the number of utterances done since the last call.

    Raises:
        IntegrityError: an audio file is not the one that was prepared.
    """
    from tpactl.adapters.attach import activate
    from tpactl.bases.recognise import read_batches, recognise_features

    heard = {name: Heard([""] * len(test_set.utterances)) for name in systems}
    try:
        _warm_up(base)
        for indices, waves in read_batches(base, test_set.paths, test_set.durations_s):
            _check_audio(test_set, indices, waves)
            started = time.perf_counter()
            features = base.features(waves)
            shared_s = time.perf_counter() - started
            for name, adapter in systems.items():
                activate(base, adapter)
                started = time.perf_counter()
                texts = recognise_features(base, features)
                heard[name].seconds += shared_s + time.perf_counter() - started
                for index, text in zip(indices, texts, strict=True):
                    heard[name].texts[index] = text
            if on_batch is not None:
                on_batch(len(indices))
    finally:
        activate(base, None)
    return heard


def _warm_up(base: Base) -> None:
    # The first pass through a model also pays for kernels and buffers; no system should be billed.
    from tpactl.bases.recognise import recognise_features

    recognise_features(base, base.features([np.zeros(SAMPLE_RATE, dtype=np.float32)]))


def _check_audio(test_set: TestSet, indices: list[int], waves: list[np.ndarray]) -> None:
    from tpactl.audio.write import digest_samples

    for index, wave in zip(indices, waves, strict=True):
        utterance = test_set.utterances[index]
        if digest_samples(wave) != utterance.audio_digest:
            raise IntegrityError(
                f"{test_set.data.audio_path(utterance)} ({utterance.id}) is not the audio that was "
                "prepared: its samples have another digest",
                "copy the data set again, or prepare it again",
            )
