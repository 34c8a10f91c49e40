"""Change of sample rate."""

from __future__ import annotations

from typing import Literal

import numpy as np
import soxr

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]


def resample(
    samples: Samples,
    from_rate: int,
    to_rate: int,
    *,
    engine: Literal["soxr", "torchaudio"] = "soxr",
) -> Samples:
    """Return ``samples`` at ``to_rate``, of the same duration.

    Args:
        samples: (num_samples,), float32.
        from_rate: Hz.
        to_rate: Hz.
        engine: ``soxr`` everywhere; ``torchaudio`` where its library loads, for comparison.

    Raises:
        MachineError: torchaudio was asked for and does not load.
    """
    if from_rate == to_rate or len(samples) == 0:
        return samples
    if engine == "torchaudio":
        from tpactl.audio import torchaudio

        return torchaudio.resample(samples, from_rate, to_rate)
    return soxr.resample(samples, from_rate, to_rate, quality="HQ")
