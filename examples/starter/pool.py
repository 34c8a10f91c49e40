"""The training audio: all of it in device memory, drawn in batches of similar duration."""

from __future__ import annotations

import csv
import math
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from architecture import CHARACTERS, HOP_LENGTH, SAMPLE_RATE, SUBSAMPLING, normalise_text
from numpy.typing import NDArray
from torch import Tensor

BUCKET_EDGES_S = (1.8, 2.6, 3.5, 4.6, 6.0, 8.0, 11.0, 16.0)
SLOWEST_SPEED = 0.85  # speed is played-back rate: below 1, lower and longer
FASTEST_SPEED = 1.30
LONGEST_STRETCH = 1.25  # of a bucket's edge, in frames
FRAMES_PER_LABEL = SUBSAMPLING * 1.15  # fewer, and CTC has no path


@dataclass(frozen=True)
class BucketShape:
    """Fixed sizes of every batch of one bucket, so that a CUDA graph can replay it."""

    batch: int
    num_samples: int
    num_frames: int


def bucket_shapes(batch_s: float) -> tuple[BucketShape, ...]:
    """Return the shapes whose utterances add up to about ``batch_s`` seconds.

    Frames are a multiple of 32, so that encoder frames are one of 8 and aligned kernels run;
    samples are one of 5120 (32 hops), which has no large prime factor to slow the Fourier
    transforms.
    """
    shapes = []
    for edge_s in BUCKET_EDGES_S:
        batch = max(8, int(batch_s / edge_s) // 8 * 8)
        num_samples = math.ceil(edge_s / SLOWEST_SPEED * SAMPLE_RATE / 5120) * 5120
        num_frames = math.ceil(edge_s * LONGEST_STRETCH * SAMPLE_RATE / HOP_LENGTH / 32) * 32
        shapes.append(BucketShape(batch, num_samples, num_frames))
    return tuple(shapes)


@dataclass(frozen=True)
class Batch:
    """One drawn batch; tensors of length batch unless said otherwise."""

    bucket: int
    starts: Tensor  # where each utterance begins in the pool
    source_lengths: Tensor  # samples in the pool
    lengths: Tensor  # samples after the change of speed
    speeds: Tensor
    tempos: Tensor
    labels: Tensor  # (batch, longest), padded with 0
    label_lengths: Tensor
    encoder_lengths: Tensor  # encoder frames, on the CPU, where CTC wants them


@dataclass
class Utterance:
    """Where an utterance lies in the pool and what is said in it."""

    start: int
    num_samples: int
    labels: NDArray[np.int64]


def encoder_frames(feature_frames: Tensor) -> Tensor:
    """Return the encoder's frame counts: two convolutions of kernel 3, stride 2, padding 1."""
    return ((feature_frames - 1) // 2 + 1 - 1) // 2 + 1


class AudioPool:
    """int16 samples of every utterance, end to end, in one tensor on the device."""

    def __init__(self, capacity_hours: float, device: torch.device) -> None:
        self.device = device
        self.samples = torch.zeros(
            int(capacity_hours * 3600 * SAMPLE_RATE), dtype=torch.int16, device=device
        )
        self._end = 0
        self._lock = threading.Lock()
        self.utterances: dict[str, list[Utterance]] = defaultdict(list)
        self.buckets: dict[str, list[list[Utterance]]] = defaultdict(
            lambda: [[] for _ in BUCKET_EDGES_S]
        )

    def hours(self, group: str) -> float:
        """Return how much audio ``group`` holds."""
        return (
            sum(utterance.num_samples for utterance in self.utterances[group]) / SAMPLE_RATE / 3600
        )

    def add(
        self, group: str, samples: NDArray[np.int16], lengths: list[int], texts: list[str]
    ) -> bool:
        """Store utterances lying end to end in ``samples``; return False if the pool is full."""
        with self._lock:
            if self._end + len(samples) > len(self.samples):
                return False
            start = self._end
            self._end += len(samples)
        self.samples[start : start + len(samples)] = torch.from_numpy(samples).to(self.device)
        for num_samples, text in zip(lengths, texts, strict=True):
            labels = np.array([CHARACTERS.index(character) for character in text], np.int64)
            utterance = Utterance(start, int(num_samples), labels)
            start += int(num_samples)
            bucket = next(
                (b for b, edge in enumerate(BUCKET_EDGES_S) if num_samples <= edge * SAMPLE_RATE),
                None,
            )
            enough_frames = num_samples / HOP_LENGTH > len(labels) * FRAMES_PER_LABEL
            if len(labels) and num_samples > 0.25 * SAMPLE_RATE:
                self.utterances[group].append(utterance)
                if bucket is not None and enough_frames:
                    self.buckets[group][bucket].append(utterance)
        return True

    def add_shard(self, group: str, path: Path) -> bool:
        """Store a shard of ``speech.py``."""
        with np.load(path) as shard:
            return self.add(
                group, shard["samples"], shard["lengths"].tolist(), shard["texts"].tolist()
            )

    def add_folder(self, group: str, folder: Path, limit: int | None = None) -> None:
        """Store an audiofolder: ``metadata.csv`` with ``file_name`` and ``transcription``."""
        import soundfile

        with (folder / "metadata.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if (folder / row["file_name"]).exists()]
        if limit and len(rows) > limit:
            rows = [rows[int(index)] for index in np.linspace(0, len(rows) - 1, limit)]

        def decode(row: dict[str, str]) -> NDArray[np.int16]:
            samples, sample_rate = soundfile.read(folder / row["file_name"], dtype="float32")
            if sample_rate != SAMPLE_RATE or samples.ndim != 1:
                raise ValueError(f"{row['file_name']}: expected 16 kHz mono")
            return np.clip(samples * 32767, -32768, 32767).astype(np.int16)

        with ThreadPoolExecutor(4) as threads:
            clips = list(threads.map(decode, rows))
        texts = [normalise_text(row["transcription"]) for row in rows]
        self.add(group, np.concatenate(clips), [len(clip) for clip in clips], texts)

    def waves(
        self,
        starts: Tensor,
        source_lengths: Tensor,
        lengths: Tensor,
        speeds: Tensor,
        num_samples: int,
    ) -> Tensor:
        """Return (batch, num_samples) in [-1, 1], each at its speed and zero after its end."""
        position = torch.arange(num_samples, device=self.device)
        source = position[None] * speeds[:, None]
        before = torch.minimum(source.long(), source_lengths[:, None] - 2).clamp(min=0)
        weight = (source - before).clamp(0, 1)
        index = before + starts[:, None]
        waves = (
            torch.lerp(self.samples[index].float(), self.samples[index + 1].float(), weight) / 32768
        )
        return waves * (position[None] < lengths[:, None])


class Sampler:
    """Draws batches: a bucket by its share of the audio, then utterances.

    Real recordings are a fixed share of them.
    """

    def __init__(
        self,
        pool: AudioPool,
        shapes: tuple[BucketShape, ...],
        synthetic: str,
        real: str,
        real_share: float,
        seed: int,
    ) -> None:
        self._pool, self._shapes = pool, shapes
        self._synthetic, self._real, self._real_share = synthetic, real, real_share
        self._rng = np.random.default_rng(seed)
        self._pin: Callable[[Tensor], Tensor] = (
            (lambda t: t.pin_memory()) if pool.device.type == "cuda" else (lambda t: t)
        )

    def draw(self, last_bucket: int, vary_tempo: bool) -> Batch:
        """Return a batch out of the buckets up to ``last_bucket``."""
        rng = self._rng
        synthetic, real = self._pool.buckets[self._synthetic], self._pool.buckets[self._real]
        weights = np.array(
            [
                (len(synthetic[b]) + len(real[b])) * BUCKET_EDGES_S[b]
                for b in range(last_bucket + 1)
            ],
            dtype=float,
        )
        bucket = int(rng.choice(len(weights), p=weights / weights.sum()))
        shape = self._shapes[bucket]
        num_real = 0
        if real[bucket]:
            num_real = (
                min(round(shape.batch * self._real_share), 3 * len(real[bucket]))
                if synthetic[bucket]
                else shape.batch
            )
        chosen = (
            [real[bucket][i] for i in rng.integers(0, len(real[bucket]), num_real)]
            if num_real
            else []
        )
        if num_real < shape.batch:
            chosen += [
                synthetic[bucket][i]
                for i in rng.integers(0, len(synthetic[bucket]), shape.batch - num_real)
            ]

        source_lengths = np.array([utterance.num_samples for utterance in chosen])
        label_lengths = np.array([len(utterance.labels) for utterance in chosen])
        speeds = rng.triangular(SLOWEST_SPEED, 1.0, FASTEST_SPEED, len(chosen))
        tempos = rng.uniform(0.85, 1.25, len(chosen)) if vary_tempo else np.ones(len(chosen))
        # Neither shorter than its labels need nor longer than the bucket's frames.
        frames = source_lengths / HOP_LENGTH
        stretch = np.clip(
            tempos / speeds, label_lengths * FRAMES_PER_LABEL / frames, shape.num_frames / frames
        )
        tempos = stretch * speeds if vary_tempo else tempos
        speeds = speeds if vary_tempo else tempos / stretch
        lengths = np.minimum((source_lengths / speeds).astype(np.int64), shape.num_samples)
        tempo_column = torch.as_tensor(tempos, dtype=torch.float32)
        feature_frames = (
            (torch.as_tensor(lengths // HOP_LENGTH) * tempo_column)
            .long()
            .clamp(max=shape.num_frames)
        )

        labels = np.zeros((len(chosen), label_lengths.max()), np.int64)
        for row, utterance in enumerate(chosen):
            labels[row, : len(utterance.labels)] = utterance.labels

        def tensor(values: NDArray[np.generic], dtype: torch.dtype) -> Tensor:
            return self._pin(torch.as_tensor(values, dtype=dtype))

        return Batch(
            bucket=bucket,
            starts=tensor(np.array([utterance.start for utterance in chosen]), torch.int64),
            source_lengths=tensor(source_lengths, torch.int64),
            lengths=tensor(lengths, torch.int64),
            speeds=tensor(speeds, torch.float32),
            tempos=tensor(tempos, torch.float32),
            labels=tensor(labels, torch.int64),
            label_lengths=torch.as_tensor(label_lengths),
            encoder_lengths=encoder_frames(feature_frames),
        )
