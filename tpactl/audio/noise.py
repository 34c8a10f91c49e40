"""Noise added to speech at a signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from tpactl.audio.resample import Samples


def add_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Return ``samples`` with ``noise`` scaled to a ratio of mean powers of ``snr_db``.

    The ratio is taken over the whole utterance, pauses included, as is usual where training data
    are augmented (Kaldi's wav-reverberate; MUSAN, Snyder et al. 2015, arXiv:1510.08484). Where
    speech fills half of the utterance, the ratio while it lasts is 3 dB higher. Silence stays
    silence, and noise without any power changes nothing.

    Args:
        samples: (num_samples,), float32.
        noise: the same shape, any scale.
        snr_db: decibels.
    """
    speech_power, noise_power = _mean_power(samples), _mean_power(noise)
    if noise_power == 0.0:
        return samples
    factor = np.sqrt(speech_power / 10 ** (snr_db / 10) / noise_power)
    return (samples + noise * factor).astype(np.float32)


def _mean_power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
