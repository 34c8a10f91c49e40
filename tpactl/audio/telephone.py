"""Speech after a telephone line: a narrow band, 8 kHz, and the line's codec."""

from __future__ import annotations

import io
from typing import get_args

import numpy as np
import soundfile

from tpactl.audio.resample import Samples, resample
from tpactl.formats.augment import Codec

CODECS: tuple[Codec, ...] = get_args(Codec)

RATE = 8_000
"""Hz."""
BAND_HZ = (300.0, 3_400.0)
"""What a line passes (ITU-T G.712)."""

_SUBTYPES = {"mulaw": "ULAW", "alaw": "ALAW", "gsm": "GSM610"}
_GSM_BLOCK = 320
"""Samples in a block of GSM 06.10 inside WAV; a shorter last one would be lost."""


def over_telephone(samples: Samples, sample_rate: int, codec: Codec = "mulaw") -> Samples:
    """Return ``samples`` as they come out of a telephone, of the same length, nothing above 4 kHz.

    Args:
        samples: (num_samples,), float32 in [-1, 1], at least one.
        sample_rate: Hz, of the input and of what is returned.
        codec: ``mulaw`` and ``alaw`` are ITU-T G.711 (64 kbit/s), ``gsm`` is GSM 06.10 full rate
            (13 kbit/s), each as libsndfile writes and reads it.
    """
    line = _limit_band(resample(samples, sample_rate, RATE))
    heard = resample(_coded(line, codec), RATE, sample_rate)[: len(samples)]
    return np.pad(heard, (0, len(samples) - len(heard)))


def _limit_band(samples: Samples) -> Samples:
    from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

    # Room behind the end, so that the filter's ringing does not come round to the beginning.
    size = next_fast_len(len(samples) + RATE // 10, real=True)
    frequencies = rfftfreq(size, 1 / RATE)
    passed = (frequencies >= BAND_HZ[0]) & (frequencies <= BAND_HZ[1])
    limited = irfft(rfft(samples, size) * passed, size)[: len(samples)]
    return np.clip(limited, -1.0, 1.0).astype(np.float32)


def _coded(samples: Samples, codec: Codec) -> Samples:
    padded = np.pad(samples, (0, -len(samples) % _GSM_BLOCK))
    file = io.BytesIO()
    soundfile.write(file, padded, RATE, format="WAV", subtype=_SUBTYPES[codec])
    file.seek(0)
    heard, _ = soundfile.read(file, dtype="float32")
    return np.asarray(heard, dtype=np.float32)[: len(samples)]
