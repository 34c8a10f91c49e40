"""A split ready for training: which utterances take part, their labels, and their features.

Reads the data set's audio once and holds the features, so that no epoch after the first decodes
anything while they fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tpactl.audio.decode import decode
from tpactl.audio.resample import Samples
from tpactl.bases.base import SAMPLE_RATE, Base
from tpactl.formats.dataset import DataSet
from tpactl.formats.progress import Progress
from tpactl.train.augment import at_speed
from tpactl.train.cost import available_cores
from tpactl.train.hearing import Hearing

Disturb = Callable[[Samples], Samples]
Wanted = tuple[int, float, Disturb | None]
"""Which utterance, how fast, and what is done to its sound."""


@dataclass(frozen=True)
class Example:
    """One utterance as training sees it."""

    id: str
    path: Path
    duration_s: float
    reference: str
    """The transcript in the base's alphabet."""
    labels: Tensor
    """(labels,), int64."""


@dataclass(frozen=True)
class LeftOut:
    """Training utterances that cannot teach anything, by reason."""

    empty: list[str] = field(default_factory=list)
    """Nothing of the transcript is in the base's alphabet."""
    too_short: list[str] = field(default_factory=list)
    """Fewer frames than the base needs for the labels."""
    not_finite: list[str] = field(default_factory=list)
    """The features hold NaN, as those of digital silence may."""

    def notes(self) -> list[str]:
        """Return one sentence for each reason that occurred."""
        reasons = [
            (self.empty, "with no character the base can write"),
            (self.too_short, "too short for their transcripts"),
            (self.not_finite, "without usable features"),
        ]
        return [
            f"left out of training: {len(ids)} utterances {why} ({', '.join(ids[:3])}"
            f"{', ...' if len(ids) > 3 else ''})"
            for ids, why in reasons
            if ids
        ]


class FeatureStore:
    """Features of utterances, kept up to a limit and computed again beyond it.

    Args:
        base: extracts them.
        paths: the utterances' audio.
        limit_bytes: memory for what is kept.
        readers: threads that read a batch together; one where the CPU is needed for computing,
            else as many as there are cores.
    """

    def __init__(
        self, base: Base, paths: Sequence[Path], limit_bytes: int, readers: int | None = None
    ) -> None:
        self._base = base
        self._paths = paths
        self._left = limit_bytes
        self._kept: dict[tuple[int, float], Tensor] = {}
        self._readers = readers
        if readers is None:
            self._readers = 1 if base.device.type == "cpu" else available_cores()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        # One thread of torch in each, or they would wait for each other.
        return ThreadPoolExecutor(
            self._readers, "read", initializer=torch.set_num_threads, initargs=(1,)
        )

    def get_all(self, wanted: Sequence[Wanted]) -> list[Tensor]:
        """Return what ``get`` or, where there is a disturbance, ``disturbed`` returns, in order."""

        def read(one: Wanted) -> Tensor:
            index, speed, disturb = one
            return self.get(index, speed) if disturb is None else self.disturbed(*one)

        is_quick = self._readers == 1 or all(
            disturb is None and (index, speed) in self._kept for index, speed, disturb in wanted
        )
        return list((map if is_quick else self._pool.map)(read, wanted))

    def get(self, index: int, speed: float = 1.0) -> Tensor:
        """Return (frames, bands) or (samples,) of one utterance, played at ``speed``."""
        key = (index, speed)
        if key in self._kept:
            return self._kept[key]
        features = self.disturbed(index, speed)
        size = features.numel() * features.element_size()
        if size <= self._left:
            # A slice of the extractor's padded output would keep all of it alive.
            features = features.clone()
            self._kept[key] = features
            self._left -= size
        return features

    def disturbed(self, index: int, speed: float, disturb: Disturb | None = None) -> Tensor:
        """Return the features of one utterance, played at ``speed`` and then disturbed; not kept.

        Raises:
            InputError: audio, or a recording that disturbs it, cannot be read.
        """
        samples = at_speed(decode(self._paths[index]).samples, speed, SAMPLE_RATE)
        if disturb is not None:
            samples = disturb(samples)
        return self._base.extract(np.ascontiguousarray(samples, dtype=np.float32))

    def select(self, indices: Sequence[int]) -> FeatureStore:
        """Return a store of these utterances alone, in this order, with what is kept of them."""
        paths = [self._paths[i] for i in indices]
        chosen = FeatureStore(self._base, paths, self._left, self._readers)
        chosen._kept = {
            (new, 1.0): self._kept[(old, 1.0)]
            for new, old in enumerate(indices)
            if (old, 1.0) in self._kept
        }
        return chosen


class Split:
    """The examples of one split and their features.

    Args:
        examples: in the order of the manifest.
        store: their features, by position.
        hearing: how epochs hear them; as they were recorded without it.
    """

    def __init__(
        self, examples: list[Example], store: FeatureStore, hearing: Hearing | None = None
    ) -> None:
        self.examples = examples
        self._store = store
        self._hearing = hearing

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.examples)

    @property
    def durations(self) -> list[float]:
        """Seconds of each example."""
        return [example.duration_s for example in self.examples]

    @property
    def references(self) -> list[str]:
        """Transcripts in the base's alphabet."""
        return [example.reference for example in self.examples]

    def select(self, indices: Sequence[int]) -> Split:
        """Return a split of these examples alone, in this order."""
        return Split([self.examples[i] for i in indices], self._store.select(indices))

    def augmented(self, hearing: Hearing) -> Split:
        """Return the same examples, with the same kept features, as ``hearing`` lets them sound."""
        return Split(self.examples, self._store, hearing)

    def features(self, batch: Sequence[int], speeds: Sequence[float] | None = None) -> list[Tensor]:
        """Return the features of ``batch``, each at its own speed where ``speeds`` are given."""
        chosen = [1.0] * len(batch) if speeds is None else speeds
        return self._store.get_all([(i, s, None) for i, s in zip(batch, chosen, strict=True)])

    def speeds(self, epoch: int) -> list[float]:
        """Return how fast ``epoch`` hears each example."""
        count = len(self)
        return [1.0] * count if self._hearing is None else self._hearing.speeds(count, epoch)

    def heard(self, batch: Sequence[int], epoch: int) -> list[Tensor]:
        """Return the features of ``batch`` as ``epoch`` hears it."""
        if self._hearing is None:
            return self.features(batch)
        speeds = self.speeds(epoch)
        disturbance = self._hearing.disturbance
        return self._store.get_all([(i, speeds[i], disturbance(i, epoch)) for i in batch])

    def labels(self, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return all labels of ``batch`` in a row and how many belong to each utterance."""
        rows = [self.examples[i].labels for i in batch]
        return torch.cat(rows), torch.tensor([len(row) for row in rows])


def list_split(base: Base, data: DataSet, split: str, *, limit_bytes: int) -> Split:
    """Return a split whose audio is read only when a batch needs it; nothing is left out of it.

    Args: as ``read_split``.
    """
    rows = data.utterances(split)
    examples = [
        Example(
            row.id,
            data.audio_path(row),
            row.duration,
            base.prepare_text(row.text),
            torch.tensor(base.encode(row.text), dtype=torch.long),
        )
        for row in rows
    ]
    return Split(examples, FeatureStore(base, [e.path for e in examples], limit_bytes))


def read_split(
    base: Base,
    data: DataSet,
    split: str,
    *,
    limit_bytes: int,
    drop_unusable: bool,
    on_progress: Progress | None = None,
) -> tuple[Split, LeftOut]:
    """Return a split with its features, and what was left out of it.

    Args:
        base: its alphabet, tokenizer and features are used.
        data: the prepared data set.
        split: ``train`` or ``dev``.
        limit_bytes: memory for features.
        drop_unusable: leave out what cannot be learnt from; for training only, a measurement
            counts every utterance.
        on_progress: told after each utterance.

    Raises:
        InputError: audio of the data set cannot be read.
    """
    rows = data.utterances(split)
    everything = FeatureStore(base, [data.audio_path(row) for row in rows], limit_bytes)
    kept: list[int] = []
    examples: list[Example] = []
    left_out = LeftOut()
    for index, row in enumerate(rows):
        features = everything.get(index)
        labels = torch.tensor(base.encode(row.text), dtype=torch.long)
        reason = _unusable(base, features, labels, left_out) if drop_unusable else None
        if reason is None:
            kept.append(index)
            path, reference = data.audio_path(row), base.prepare_text(row.text)
            examples.append(Example(row.id, path, row.duration, reference, labels))
        else:
            reason.append(row.id)
        if on_progress is not None:
            on_progress(f"read {split}", index + 1, len(rows))
    return Split(examples, everything.select(kept)), left_out


def unwritable_characters(base: Base, data: DataSet, split: str) -> set[str]:
    """Return the letters, digits and symbols of the split's transcripts that the base lacks."""
    characters = set().union(*(set(row.text) for row in data.utterances(split)))
    return base.unknown_characters("".join(sorted(characters)))


def _unusable(base: Base, features: Tensor, labels: Tensor, left_out: LeftOut) -> list[str] | None:
    if len(labels) == 0:
        return left_out.empty
    if not bool(features.isfinite().all()):
        return left_out.not_finite
    frames = int(base.output_lengths(torch.tensor([len(features)]))[0])
    return left_out.too_short if frames < base.decoder.fewest_frames(labels) else None
