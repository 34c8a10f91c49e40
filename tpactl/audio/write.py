"""Write audio as data sets hold it: FLAC, 16 kHz, mono, 16 bit."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile

from tpactl.formats.dataset import SAMPLE_RATE
from tpactl.formats.files import sha256_of

_FULL_SCALE = 32768
"""16-bit samples come back bit for bit: soundfile reads them as value / 32768."""


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Return float samples as 16-bit integers; what lies beyond full scale is clipped."""
    if samples.dtype == np.int16:
        return samples
    scaled = np.rint(samples.astype(np.float64) * _FULL_SCALE)
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def digest_samples(samples: np.ndarray) -> str:
    """Return ``sha256:<hex>`` of the samples as 16-bit little-endian integers."""
    return sha256_of(to_int16(samples).astype("<i2").tobytes())


def write_flac(path: Path, samples: np.ndarray) -> str:
    """Write mono samples at 16 kHz and return their digest.

    Args:
        path: the file to write; its folder exists.
        samples: (num_samples,), float in [-1, 1] or int16.

    Raises:
        OSError: the disk refuses; the caller's ``whole_folder`` turns it into a MachineError.
    """
    whole = to_int16(samples)
    encoded = io.BytesIO()  # libsndfile reports a full disk as a bare "system error"
    soundfile.write(encoded, whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(encoded.getbuffer())
    return digest_samples(whole)
