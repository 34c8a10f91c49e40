"""What training changes about an utterance: its speed, and bands and stretches of its features.

SpecAugment works on features, anew each step; a speed copy is made once and its features are kept.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tpactl.audio.resample import resample

SPEEDS = (0.9, 1.0, 1.1)
"""Of speed perturbation. Source: Ko et al. 2015, "Audio augmentation for speech recognition"."""

FREQUENCY_MASKS = 2
FREQUENCY_SHARE = 0.2
"""The widest frequency mask, as a share of the bands (16 of 80)."""
TIME_MASKS = 2
TIME_SHARE = 0.08
"""The longest time mask, as a share of the utterance. Long ones hurt departments of minutes."""


def at_speed(samples: np.ndarray, speed: float, sample_rate: int) -> np.ndarray:
    """Return ``samples`` played ``speed`` times as fast; pitch and tempo change together."""
    if speed == 1.0:
        return samples
    return resample(samples, round(sample_rate * speed), sample_rate)


def draw_speeds(count: int, *, seed: int, epoch: int) -> list[float]:
    """Return one of ``SPEEDS`` for each utterance of an epoch, the same on any machine."""
    drawn = np.random.default_rng([seed, epoch, 1]).integers(0, len(SPEEDS), count)
    return [SPEEDS[i] for i in drawn]


def spec_augment(features: Tensor, num_frames: Tensor, generator: torch.Generator) -> Tensor:
    """Return ``features`` with random bands and stretches at zero, which is their mean.

    Args:
        features: (batch, frames, bands), normalised per utterance.
        num_frames: (batch,), valid frames of each.
        generator: on the CPU; it alone decides the masks.

    Returns:
        A tensor of the same shape; ``features`` is untouched.

    Source: Park et al. 2019, arXiv:1904.08779, without time warping.
    """
    batch, frames, bands = features.shape
    hidden = torch.zeros(batch, frames, bands, dtype=torch.bool)
    band = torch.arange(bands)
    frame = torch.arange(frames)
    whole_bands = torch.full((batch,), float(bands))
    lengths = num_frames.cpu().float()
    for _ in range(FREQUENCY_MASKS):
        covered = _interval(whole_bands, FREQUENCY_SHARE, band, generator)
        hidden |= covered[:, None, :]
    for _ in range(TIME_MASKS):
        covered = _interval(lengths, TIME_SHARE, frame, generator)
        hidden |= covered[:, :, None]
    return features.masked_fill(hidden.to(features.device), 0.0)


def _interval(extent: Tensor, share: float, index: Tensor, generator: torch.Generator) -> Tensor:
    """Return (batch, len(index)) bool: a random interval of at most ``share`` of each extent."""
    width = torch.rand(len(extent), generator=generator) * share * extent
    start = torch.rand(len(extent), generator=generator) * (extent - width)
    return (index >= start[:, None]) & (index < (start + width)[:, None])
