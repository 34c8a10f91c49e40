"""Short recordings in memory and on disk, in every format that a test needs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile


def speech_like(seconds: float = 1.0, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """A tone under noise: nothing that a codec could shorten to nothing."""
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(times))
    return (0.3 * np.sin(2 * np.pi * 220 * times) + 0.02 * noise).astype(np.float32)


def encoded(form: str, subtype: str | None = None, *, rate: int = 16_000, seconds: float = 1.0):
    buffer = io.BytesIO()
    soundfile.write(buffer, speech_like(seconds, rate), rate, format=form, subtype=subtype)
    return buffer.getvalue()


def muxed(
    path: Path,
    codec: str,
    rate: int,
    *,
    form: str | None = None,
    seconds: float = 1.0,
    **options: str,
) -> bytes:
    """Encode with PyAV, for the containers that libsndfile does not write."""
    import av

    with av.open(str(path), "w", format=form, options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.layout = "mono"
        stream.codec_context.bit_rate = 64_000
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(
            speech_like(seconds, rate)[None, :], format="fltp", layout="mono"
        )
        frame.sample_rate = rate
        context = stream.codec_context
        resampler = av.AudioResampler(
            format=context.format.name,
            layout="mono",
            rate=rate,
            frame_size=context.frame_size or 1024,
        )
        for part in resampler.resample(frame) + resampler.resample(None):
            for packet in stream.encode(part):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path.read_bytes()
