"""Rooms, noises and telephone lines for training: distortions of a batch of waves."""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLE_RATE = 16_000


def reverberate(waves: Tensor, share: float) -> Tensor:
    """Return ``waves`` with ``share`` of them in a room: a decaying tail of noise."""
    batch, samples = waves.shape
    tail = 6_400  # 0.4 s
    device = waves.device
    decay_s = torch.rand(batch, 1, device=device) * 0.35 + 0.03
    seconds = torch.arange(tail, device=device) / SAMPLE_RATE
    level = (
        torch.rand(batch, 1, device=device) * 0.25 * (torch.rand(batch, 1, device=device) < share)
    )
    response = torch.randn(batch, tail, device=device) * torch.exp(-6.9 * seconds / decay_s) * level
    response[:, 0] = 1.0
    size = 1 << (samples + tail - 1).bit_length()
    return torch.fft.irfft(torch.fft.rfft(waves, size) * torch.fft.rfft(response, size), size)[
        :, :samples
    ]


def _power(waves: Tensor, lengths: Tensor) -> Tensor:
    return waves.square().sum(1, keepdim=True) / lengths[:, None] + 1e-9


def add_noise(waves: Tensor, lengths: Tensor, quietest_db: float) -> Tensor:
    """Return ``waves`` in coloured noise, ``quietest_db`` (loud) to 45 dB below the speech."""
    batch, samples = waves.shape
    device = waves.device
    slope = torch.rand(batch, 1, device=device)
    spectrum = torch.fft.rfft(torch.randn(batch, samples, device=device))
    frequency = torch.arange(spectrum.shape[1], device=device)[None] + 10.0
    noise = torch.fft.irfft(spectrum / frequency**slope, samples)
    noise = noise / noise.std(1, keepdim=True)
    ratio_db = quietest_db + torch.rand(batch, 1, device=device) * (45.0 - quietest_db)
    return waves + noise * torch.sqrt(_power(waves, lengths) * 10 ** (-ratio_db / 10))


def add_babble(waves: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Return ``waves`` with ``share`` of them over another utterance, 8 to 25 dB quieter."""
    batch = waves.shape[0]
    device = waves.device
    other = waves.roll(1, 0).roll(waves.shape[1] // 3, 1)
    ratio_db = 8.0 + torch.rand(batch, 1, device=device) * 17.0
    chosen = torch.rand(batch, 1, device=device) < share
    gain = torch.sqrt(_power(waves, lengths) / _power(other, lengths) * 10 ** (-ratio_db / 10))
    return waves + other * gain.clamp(max=3.0) * chosen


def colour(waves: Tensor, share: float) -> Tensor:
    """Return ``waves`` through microphones and lines: a tilt, a low cut, for some a high cut.

    Of ``share`` of them nothing is left above 3.3 to 8 kHz, as after a telephone line or a lossy
    codec.
    """
    batch, samples = waves.shape
    device = waves.device
    spectrum = torch.fft.rfft(waves)
    hertz = torch.linspace(0.0, SAMPLE_RATE / 2, spectrum.shape[1], device=device)[None]
    tilt_db = (torch.rand(batch, 1, device=device) - 0.5) * 8.0  # per octave around 1 kHz
    gain = 10 ** (tilt_db * torch.log2((hertz + 100.0) / 1_000.0).clamp(-3, 3) / 20)
    low_hz = torch.rand(batch, 1, device=device) ** 2 * 350.0
    high_hz = 3_300.0 + torch.rand(batch, 1, device=device) * 4_700.0
    high_hz = torch.where(torch.rand(batch, 1, device=device) < share, high_hz, 9_000.0)
    band = torch.sigmoid((hertz - low_hz) / 20.0 + 2.0) * torch.sigmoid((high_hz - hertz) / 60.0)
    return torch.fft.irfft(spectrum * gain * band, samples)


def telephone(waves: Tensor, share: float) -> Tensor:
    """Return ``waves`` with ``share`` of them in mu-law's 8 bits."""
    peak = waves.abs().amax(1, keepdim=True) + 1e-6
    scaled = (waves / peak).clamp(-1, 1)
    mu = 255.0
    compressed = scaled.sign() * torch.log1p(mu * scaled.abs()) / torch.log1p(torch.tensor(mu))
    rounded = torch.round(compressed * 127) / 127
    expanded = rounded.sign() * ((1 + mu) ** rounded.abs() - 1) / mu * peak
    chosen = torch.rand(waves.shape[0], 1, device=waves.device) < share
    return torch.where(chosen, expanded, waves)


def distort(waves: Tensor, lengths: Tensor, strong: bool) -> Tensor:
    """Return ``waves`` as recorded somewhere: lightly at the start of training, later strongly."""
    if not strong:
        return add_noise(reverberate(waves, 0.3), lengths, 8.0)
    waves = add_babble(waves, lengths, 0.12)
    waves = reverberate(waves, 0.5)
    waves = add_noise(waves, lengths, 4.0)
    return telephone(colour(waves, 0.4), 0.15)
