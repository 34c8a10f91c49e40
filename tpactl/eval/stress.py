"""What the world does to audio: noise, a room, a telephone, a hurry. The same each time.

Every disturbance depends on the utterance's id, the seed and the level alone, so it does not matter
in which order or company utterances come, and two reports of one data set meet the same noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from tpactl.audio import telephone
from tpactl.audio.noise import add_noise
from tpactl.audio.resample import resample
from tpactl.audio.room import reverberate
from tpactl.formats.dataset import SAMPLE_RATE

Samples = npt.NDArray[np.float32]

SEED = 0
NOISE_DB = (20.0, 10.0, 5.0, 0.0)
RT60_S = (0.3, 0.8)
SPEEDS = (0.9, 1.1)

_EARLY_S = 0.0025


@dataclass(frozen=True)
class Disturbance:
    """One way to disturb an utterance; call it with (samples, id).

    Attributes:
        kind: what is done.
        level: how much; ``None`` for the telephone.
        label: for a reader.
    """

    kind: Literal["noise", "reverberation", "telephone", "speed"]
    level: float | None
    label: str
    _apply: Callable[[Samples, np.random.Generator], Samples]

    def __call__(self, samples: Samples, utterance_id: str) -> Samples:
        """Return the disturbed samples, float32 within [-1, 1], not necessarily as many."""
        words = f"{SEED}:{self.kind}:{self.level}:{utterance_id}".encode()
        generator = np.random.default_rng(list(hashlib.sha256(words).digest()))
        disturbed = self._apply(samples, generator)
        peak = float(np.abs(disturbed).max(initial=0.0))
        # Turned down rather than clipped: clipping would be a disturbance of its own.
        return (disturbed / max(1.0, peak)).astype(np.float32)


def disturbances() -> list[Disturbance]:
    """Return the whole course, in the order in which a report shows it."""
    course = [Disturbance("noise", db, f"noise {db:g} dB", partial(noisy, db)) for db in NOISE_DB]
    course += [
        Disturbance("reverberation", rt60, f"room, RT60 {rt60:g} s", partial(in_room, rt60))
        for rt60 in RT60_S
    ]
    course += [Disturbance("telephone", None, "telephone", over_telephone)]
    return course + [
        Disturbance("speed", factor, f"speed {factor:g}", partial(faster, factor))
        for factor in SPEEDS
    ]


def noisy(snr_db: float, samples: Samples, generator: np.random.Generator) -> Samples:
    """Return ``samples`` with noise of speech's own long-term slope, at ``snr_db`` overall.

    Pink noise (power falling with 1/f) from 50 Hz on; its level is set by the mean power of the
    whole utterance. Silence stays silence.
    """
    spectrum = np.fft.rfft(generator.normal(size=len(samples)))
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[frequencies < 50] = 0
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 50)), len(samples))
    return add_noise(samples, noise.astype(np.float32), snr_db)


def in_room(rt60_s: float, samples: Samples, generator: np.random.Generator) -> Samples:
    """Return ``samples`` as a room with that reverberation time would carry them.

    The impulse response is the direct sound followed by exponentially decaying Gaussian noise
    (Polack 1988, "La transmission de l'energie sonore dans les salles"; J. Moorer 1979, Computer
    Music Journal 3), as loud in all as the direct sound. As many samples come out as went in.
    """
    times = np.arange(int(rt60_s * SAMPLE_RATE)) / SAMPLE_RATE
    # Down by 60 dB, a factor of 1000, after rt60_s.
    tail = generator.normal(size=len(times)) * 10 ** (-3 * times / rt60_s)
    tail[times < _EARLY_S] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return reverberate(samples, tail.astype(np.float32))


def over_telephone(samples: Samples, generator: np.random.Generator) -> Samples:
    """Return ``samples`` after a telephone line: 300-3400 Hz, 8 kHz, mu-law, and back."""
    return telephone.over_telephone(samples, SAMPLE_RATE)


def faster(factor: float, samples: Samples, generator: np.random.Generator) -> Samples:
    """Return ``samples`` played ``factor`` times as fast, the pitch moving with it."""
    return resample(samples, round(SAMPLE_RATE * factor), SAMPLE_RATE)
