"""Files that libsndfile does not read: M4A, AAC, WebM, WMA, AMR.

PyAV (the extra ``av``) first, the ffmpeg program where PyAV is not installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_MAGIC = re.compile(
    rb"....(ftyp|moov|mdat|wide|free|skip)"  # MP4, M4A, 3GP, QuickTime
    rb"|\x1a\x45\xdf\xa3"  # WebM, Matroska
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # WMA (ASF)
    rb"|\xff[\xf0\xf1\xf8\xf9]"  # AAC (ADTS)
    rb"|#!AMR|ADIF|wvpk|MAC |TTA1"
    rb"|RIFF....WAVE|OggS|fLaC|ID3|caff",  # a codec or variant that libsndfile lacks
    re.DOTALL,
)
# Never a playlist (hls, concat): those make ffmpeg open other files.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,amr,amrnb,amrwb,wv,ape,tta,wav,ogg,flac,mp3,caf"
)
_SPEAKER = re.compile(r"\[[^][]* @ 0x[0-9a-f]+\]\s*")
"""What ffmpeg puts before a sentence: the part that says it and where that lies in memory."""
_TOLERANCE_S = 0.1
"""Declared lengths count the encoder's delay or not: up to 80 ms for Opus in WebM."""


class UndecodableError(Exception):
    """The file cannot be decoded; the message is the reason."""


class NoDecoderError(Exception):
    """The file looks like audio, but nothing installed here decodes it."""


@dataclass(frozen=True)
class Read:
    """What a decoder gave: samples of all channels, (num_samples, channels)."""

    samples: np.ndarray
    rate: int


def looks_foreign(path: Path) -> bool:
    """Return whether the file begins like one that these decoders may read."""
    with path.open("rb") as file:
        return _MAGIC.match(file.read(16)) is not None


def read(path: Path) -> Read:
    """Return all samples of the file's first audio track.

    Raises:
        UndecodableError: damaged, shorter than it declares, or without audio.
        NoDecoderError: neither PyAV nor ffmpeg is installed.
    """
    try:
        import av
    except ImportError:
        return _by_program(path)
    return _by_pyav(path, av)


def _by_pyav(path: Path, av: Any) -> Read:
    blocks: list[np.ndarray] = []
    packets = 0
    try:
        with av.open(
            f"file:{path.absolute()}",
            options={"protocol_whitelist": "file", "format_whitelist": _CONTAINERS},
        ) as container:
            if not container.streams.audio:
                raise UndecodableError("it has no audio track")
            stream = container.streams.audio[0]
            declared = _seconds(stream, container)
            resampler = av.AudioResampler(format="fltp")
            for packet in container.demux(stream):
                packets += packet.size > 0
                for frame in packet.decode():
                    rate = frame.sample_rate
                    blocks += [made.to_ndarray() for made in resampler.resample(frame)]
            blocks += [made.to_ndarray() for made in resampler.resample(None)] if blocks else []
            expected = stream.frames
    except av.FFmpegError as error:
        raise UndecodableError(f"damaged or truncated: {error.strerror.lower()}") from error
    if not blocks:
        raise UndecodableError("it holds no audio")
    if expected and packets < expected:
        raise UndecodableError(
            f"truncated: it declares {expected:,} packets, {packets:,} are there"
        )
    samples = np.concatenate(blocks, axis=1).T
    _check_length(len(samples) / rate, declared)
    return Read(samples, rate)


def _seconds(stream: Any, container: Any) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _check_length(decoded_s: float, declared_s: float | None) -> None:
    if declared_s is not None and decoded_s < declared_s - _TOLERANCE_S:
        raise UndecodableError(
            f"truncated: it declares {declared_s:.2f} s, {decoded_s:.2f} s decode"
        )


def _by_program(path: Path) -> Read:
    ffmpeg, ffprobe = shutil.which("ffmpeg"), shutil.which("ffprobe")
    if ffmpeg is None or ffprobe is None:
        raise NoDecoderError
    source = ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS]
    source += ["-i", f"file:{path.absolute()}"]
    asked = ["-show_entries", "stream=sample_rate,channels,duration,nb_frames:format=duration"]
    probe = _run([ffprobe, "-v", "error", "-select_streams", "a:0", *asked, "-of", "json", *source])
    found = json.loads(probe or b"{}")
    if not found.get("streams"):
        raise UndecodableError("it has no audio track")
    stream = found["streams"][0]
    rate, channels = int(stream["sample_rate"]), int(stream["channels"])
    wanted = ["-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "f32le", "pipe:1"]
    raw = _run([ffmpeg, "-nostdin", "-v", "error", "-xerror", *source, *wanted])
    samples = np.frombuffer(raw, "<f4").reshape(-1, channels)
    if len(samples) == 0:
        raise UndecodableError("it holds no audio")
    declared = stream.get("duration") or found.get("format", {}).get("duration")
    by_packets = stream.get("nb_frames") is None
    # ADTS and AMR name no length; ffprobe guesses one from the bit rate.
    guessed = by_packets and path.suffix.lower() in (".aac", ".amr")
    _check_length(len(samples) / rate, float(declared) if declared and not guessed else None)
    return Read(samples, rate)


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or done.stderr:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = _SPEAKER.sub("", said[-1]) if said else f"exit code {done.returncode}"
        reason = last.rpartition(": ")[2].lower()
        raise UndecodableError(f"damaged or truncated: ffmpeg says {reason}")
    return done.stdout
