"""Make speech small enough to travel inside a page: Opus in Ogg, or FLAC."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile

from tpactl.audio.ogg import with_serial
from tpactl.audio.write import to_int16
from tpactl.formats.dataset import SAMPLE_RATE

_COMPRESSION = 0.95
"""libsndfile's scale from 0 to 1; about 20 kbit/s at 16 kHz, at which speech is still clear."""


@dataclass(frozen=True)
class Compressed:
    """A sound file's bytes and their media type."""

    content: bytes
    media_type: str


def compress(samples: np.ndarray) -> Compressed:
    """Return mono speech as a small sound file that browsers play; equal samples, equal bytes.

    Args:
        samples: (num_samples,) at 16 kHz, float in [-1, 1] or int16.

    Source: RFC 7845 (Opus in Ogg), RFC 9639 (FLAC, lossless and three to five times as large).
    """
    whole = to_int16(samples)
    encoded = io.BytesIO()
    if "OPUS" in soundfile.available_subtypes("OGG"):
        soundfile.write(
            encoded,
            whole,
            SAMPLE_RATE,
            format="OGG",
            subtype="OPUS",
            compression_level=_COMPRESSION,
        )
        return Compressed(with_serial(encoded.getvalue(), serial=1), "audio/ogg")
    soundfile.write(encoded, whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return Compressed(encoded.getvalue(), "audio/flac")
