"""How noisy a recording is, from the recording alone.

WADA (waveform amplitude distribution analysis): clean speech has far heavier tails than noise, so
how peaked the amplitudes are tells how much noise there is. It needs no pauses and no knowledge of
who speaks, and a constant factor changes nothing.

Source: C. Kim and R. M. Stern 2008, "Robust signal-to-noise ratio estimation based on waveform
amplitude distribution analysis", Interspeech, 2598-2601.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

LOWEST_DB, HIGHEST_DB = -20, 60
"""Estimates end here: beyond, the statistic hardly changes."""

_SHAPE = 0.4
"""Of the gamma distribution of clean speech's amplitudes (Kim & Stern 2008, sec. 2)."""
_DRAWS = 200_000


def estimate_snr_db(samples: npt.NDArray[np.float32]) -> float | None:
    """Return the signal-to-noise ratio in dB, between ``LOWEST_DB`` and ``HIGHEST_DB``.

    Args:
        samples: (num_samples,), any scale.

    Returns:
        ``None`` for digital silence. Samples of exactly 0, as gates and codecs leave them, say
        nothing about the noise and do not count.
    """
    amplitudes = np.abs(samples[samples != 0]).astype(np.float64)
    if len(amplitudes) == 0:
        return None
    levels, statistics = _table()
    return float(np.interp(_statistic(amplitudes), statistics, levels))


def _statistic(amplitudes: npt.NDArray[np.float64]) -> float:
    """Return ``ln E|z| - E ln|z|`` (Kim & Stern 2008, eq. 7); 0 for a constant amplitude."""
    return float(np.log(amplitudes.mean()) - np.log(amplitudes).mean())


@cache
def _table() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return SNRs and the statistic of gamma-distributed speech in Gaussian noise at each.

    The paper integrates numerically; here the same draws are mixed at every level, so the curve is
    smooth, and always the same.
    """
    generator = np.random.default_rng(0)
    speech = generator.gamma(_SHAPE, size=_DRAWS) * generator.choice([-1.0, 1.0], _DRAWS)
    speech /= np.sqrt(np.mean(speech**2))
    noise = generator.normal(size=_DRAWS)
    levels = np.arange(LOWEST_DB, HIGHEST_DB + 1, dtype=np.float64)
    statistics = [_statistic(np.abs(speech + noise * 10 ** (-level / 20))) for level in levels]
    return levels, np.maximum.accumulate(np.array(statistics))
