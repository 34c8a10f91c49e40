"""Speech as a room carries it to a distant microphone."""

from __future__ import annotations

import numpy as np

from tpactl.audio.resample import Samples


def reverberate(samples: Samples, response: Samples) -> Samples:
    """Return ``samples`` convolved with a room's impulse response, neither moved nor longer.

    The response is scaled to an energy of 1, and its strongest sample, the direct sound, is put at
    time 0: what comes before it is kept, what outlasts the utterance is cut off. So a transcript's
    times stay true. As Kaldi's ``wav-reverberate --shift-output=true`` does it (Ko et al. 2017, "A
    study on data augmentation of reverberant speech for robust speech recognition").

    Args:
        samples: (num_samples,), float32, at least one.
        response: (taps,) at the same rate, not all of them zero.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    taps = response / np.sqrt(np.sum(np.square(response, dtype=np.float64)))
    direct = int(np.argmax(np.abs(taps)))
    whole = len(samples) + len(taps) - 1
    size = next_fast_len(whole, real=True)
    carried = irfft(rfft(samples, size) * rfft(taps, size), size)
    return carried[direct : direct + len(samples)].astype(np.float32)
