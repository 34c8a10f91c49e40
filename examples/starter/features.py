"""Features for training: whole batches on any device, with optional distortions.

Without a distortion the result equals ``ParakeetFeatureExtractor``; ``check.py`` compares them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import hertz_to_mel, mel_to_hertz

SAMPLE_RATE, NUM_FFT, WINDOW, HOP, NUM_MELS = 16_000, 512, 400, 160, 80
PREEMPHASIS, LOG_FLOOR, STD_FLOOR = 0.97, 2**-24, 1e-5
WARPS = np.linspace(0.84, 1.20, 19)
"""Vocal tract length factors; above 1 the formants move up, as in a child's voice."""
NO_WARP = 8
WARP_KNEE_HZ = 6_500.0


def mel_filters(warp: float) -> Tensor:
    """Return Slaney mel filters, (mels, bins), of a spectrum warped by ``warp``.

    Frequencies are multiplied by it; above ``WARP_KNEE_HZ`` the warping bends, so that 8 kHz stays.
    """
    nyquist = SAMPLE_RATE / 2
    edges = mel_to_hertz(np.linspace(0.0, hertz_to_mel(nyquist, "slaney"), NUM_MELS + 2), "slaney")
    bins = np.linspace(0.0, nyquist, NUM_FFT // 2 + 1)
    if warp != 1.0:
        knee = WARP_KNEE_HZ / max(warp, 1.0)
        bins = np.interp(bins, [0.0, knee, nyquist], [0.0, knee * warp, nyquist])
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return torch.from_numpy(
        (np.maximum(0.0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)
    )


class LogMel:
    """Turns a batch of waves into normalised log-mel features."""

    def __init__(self, device: torch.device) -> None:
        self._filters = torch.stack([mel_filters(float(warp)) for warp in WARPS]).to(device)
        self._window = torch.hann_window(WINDOW, periodic=False, device=device)

    def __call__(
        self,
        waves: Tensor,
        lengths: Tensor,
        warp_index: Tensor | None = None,
        tempo: Tensor | None = None,
        num_frames: int | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, mask and frame counts.

        Args:
            waves: (batch, samples), float, zero after each utterance's end.
            lengths: (batch,), samples of each utterance.
            warp_index: (batch,), which of ``WARPS``; none warps nothing.
            tempo: (batch,), by how much each utterance is stretched in time (pitch and formants
                stay); none is 1.
            num_frames: pad or cut the features to this many frames.

        Returns:
            features (batch, frames, mels), mask (batch, frames) of valid frames, counts (batch,) of
            valid frames.
        """
        positions = torch.arange(waves.shape[1], device=waves.device)
        waves = torch.cat([waves[:, :1], waves[:, 1:] - PREEMPHASIS * waves[:, :-1]], dim=1)
        waves = waves * (positions[None] < lengths[:, None])
        spectrum = torch.stft(
            waves, NUM_FFT, HOP, WINDOW, self._window, return_complex=True, pad_mode="constant"
        )
        power = spectrum.real.square() + spectrum.imag.square()  # (batch, bins, frames)
        filters = self._filters[NO_WARP] if warp_index is None else self._filters[warp_index]
        log_mel = torch.log(filters @ power + LOG_FLOOR).transpose(1, 2)

        counts = lengths // HOP
        if tempo is not None:
            num_frames = num_frames or math.ceil(log_mel.shape[1] * float(tempo.max()))
            source = torch.arange(num_frames, device=waves.device)[None] / tempo[:, None]
            before = source.long().clamp(max=log_mel.shape[1] - 2)
            weight = (source - before).clamp(0, 1)[..., None]
            index = before[..., None].expand(-1, -1, NUM_MELS)
            log_mel = torch.lerp(log_mel.gather(1, index), log_mel.gather(1, index + 1), weight)
            counts = (counts * tempo).long().clamp(max=num_frames)
        elif num_frames is not None:
            log_mel = torch.nn.functional.pad(log_mel, (0, 0, 0, num_frames - log_mel.shape[1]))

        mask = torch.arange(log_mel.shape[1], device=waves.device)[None] < counts[:, None]
        return normalise(log_mel, mask, counts), mask, counts


def normalise(log_mel: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    """Return features with mean 0 and deviation 1 per mel over valid frames, 0 elsewhere."""
    valid = mask[..., None]
    mean = (log_mel * valid).sum(1, keepdim=True) / counts[:, None, None]
    variance = ((log_mel - mean).square() * valid).sum(1, keepdim=True) / (
        counts[:, None, None] - 1
    )
    return (log_mel - mean) / (variance.sqrt() + STD_FLOOR) * valid


def spec_augment(features: Tensor, counts: Tensor) -> Tensor:
    """Return ``features`` with two bands of mels and two stretches of time set to zero.

    Source: Park et al. 2019, arXiv:1904.08779.
    """
    batch, frames, mels = features.shape
    device = features.device
    time_index = torch.arange(frames, device=device)[None, :, None]
    mel_index = torch.arange(mels, device=device)[None, None]
    duration = counts.view(-1, 1, 1)
    for _ in range(2):
        width = torch.rand(batch, 1, 1, device=device) * 18
        start = torch.rand(batch, 1, 1, device=device) * (mels - width)
        features = features.masked_fill((mel_index >= start) & (mel_index < start + width), 0.0)
        width = torch.rand(batch, 1, 1, device=device) * duration * 0.08
        start = torch.rand(batch, 1, 1, device=device) * (duration - width)
        features = features.masked_fill((time_index >= start) & (time_index < start + width), 0.0)
    return features
