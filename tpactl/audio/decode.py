"""Decode one audio file, whole, to mono samples at one rate.

libsndfile first, PyAV for what it does not read, the ffmpeg program last. A file that is shorter
than it declares is refused: see ``tpactl.audio.declared`` for why the decoders cannot be asked.
"""

from __future__ import annotations

import io
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tpactl.audio import foreign, mpeg
from tpactl.audio.declared import mapped, shortfall, unfinished_wav
from tpactl.audio.resample import resample
from tpactl.errors import InputError, MachineError
from tpactl.formats.dataset import SAMPLE_RATE

LONGEST_S = 4 * 3600.0
"""A longer file is refused: it is no utterance, and its samples would fill the memory."""
_RATES = range(1_000, 768_001)
_LOUDEST = 8.0
"""Float files may run over full scale a little; beyond this they are in another unit."""

_REPLACE = "replace the file by a whole one, or leave it out"


class BadAudioError(InputError):
    """One audio file that cannot be used; ``reason`` is the problem without the file's name."""

    def __init__(self, path: Path, reason: str, fix: str = _REPLACE) -> None:
        super().__init__(f"{path}: {reason}", fix)
        self.reason = reason


class MissingDecoderError(MachineError):
    """Nothing is wrong with the file as far as known, but nothing installed here decodes it."""

    def __init__(self, path: Path) -> None:
        self.reason = "its format needs PyAV (pip install 'tpactl[av]') or the ffmpeg program"
        super().__init__(f"{path}: {self.reason}", "run: pip install 'tpactl[av]'")


@dataclass(frozen=True)
class Decoded:
    """One file's sound.

    ``samples`` are (num_samples,), float32 in [-1, 1], the mean of all channels at the asked rate;
    ``source_rate`` and ``channels`` are the file's own.
    """

    samples: np.ndarray
    duration_s: float
    source_rate: int
    channels: int


def decode(path: Path, *, sample_rate: int = SAMPLE_RATE) -> Decoded:
    """Return the file's sound as mono samples at ``sample_rate``.

    Raises:
        BadAudioError: an InputError: missing, unreadable, no audio, empty, shorter than it
            declares, or with samples that are no numbers.
        MissingDecoderError: a MachineError: its format needs PyAV or ffmpeg, and neither is here.
    """
    try:
        state = path.stat()
        if stat.S_ISDIR(state.st_mode):
            raise BadAudioError(path, "is no file but a folder", f"name its files: {path}/*")
        if not stat.S_ISREG(state.st_mode):
            raise BadAudioError(path, "is no file", "give an audio file")
        if state.st_size == 0:
            raise BadAudioError(path, "the file is empty")
        reason = shortfall(path)
        if reason is not None:
            raise BadAudioError(path, reason)
        samples, rate = _read(path)
    except FileNotFoundError as error:
        raise BadAudioError(path, "no such file", "check the path") from error
    except UnicodeEncodeError as error:
        raise BadAudioError(path, "its name is not UTF-8", "rename the file") from error
    except OSError as error:
        raise BadAudioError(
            path, f"cannot be read: {error.strerror or error}", "check it"
        ) from error
    except foreign.UndecodableError as error:
        raise BadAudioError(path, str(error)) from error
    channels = samples.shape[1]
    if len(samples) == 0:
        raise BadAudioError(path, "it holds no audio")
    mono = samples[:, 0] if channels == 1 else samples.mean(axis=1, dtype=np.float32)
    peak = float(np.abs(mono).max())  # NaN and infinities come through
    if not np.isfinite(peak):
        raise BadAudioError(path, "it has samples that are no finite numbers (NaN or infinity)")
    if peak > _LOUDEST:
        raise BadAudioError(path, f"samples reach {peak:.4g}; full scale is 1", "rescale the file")
    made = np.clip(resample(np.ascontiguousarray(mono), rate, sample_rate), -1.0, 1.0)
    if len(made) == 0:
        raise BadAudioError(path, "it holds no audio")
    return Decoded(made, len(made) / sample_rate, rate, channels)


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Return (num_samples, channels) float32 and the rate."""
    try:
        file = _open(path)
    except soundfile.LibsndfileError as error:
        if foreign.looks_foreign(path):
            return _read_foreign(path)
        raise BadAudioError(path, _reason(error)) from error
    with file:
        frames, rate = file.frames, file.samplerate
        if rate not in _RATES:
            raise BadAudioError(
                path, f"its sample rate is {rate} Hz; 1,000 to 768,000 are possible"
            )
        if frames >= 1 << 62:  # a FLAC whose writer could not go back to fill in the length
            return _read_foreign(path)
        if frames / rate > LONGEST_S:
            raise BadAudioError(
                path,
                f"it declares {frames / rate / 3600:.1f} hours; at most 4 are possible",
                "cut it into utterances",
            )
        said = re.search(r"truncated|Data length \d+ should be \d+", file.extra_info)
        if said is not None:
            raise BadAudioError(path, "truncated: it holds less audio than its header declares")
        try:
            samples = file.read(frames, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, MemoryError) as error:
            raise BadAudioError(path, f"damaged or truncated: {_reason(error)}") from error
        declares = file.format != "MP3" or _mp3_has_length(path)
    if declares and len(samples) < frames:
        raise BadAudioError(
            path,
            f"truncated or damaged: it declares {frames / rate:.2f} s, "
            f"{len(samples) / rate:.2f} s decode",
        )
    return samples, rate


def named(path: Path) -> bytes:
    """Return the name as the system holds it; as text, soundfile refuses one that is no UTF-8."""
    return os.fsencode(path)


def _open(path: Path) -> soundfile.SoundFile:
    if path.suffix.lower() == ".mp3":
        with mapped(path) as raw:
            if not mpeg.may_be(raw):
                # By its name libmpg123 would be asked, which tells stderr how it seeks a frame.
                return soundfile.SoundFile(io.BytesIO(raw[:]))
    unfinished = unfinished_wav(path)
    if unfinished is None:
        return soundfile.SoundFile(named(path))
    content = bytearray(path.read_bytes())
    length = min(len(content) - unfinished - 4, 0xFFFFFFFF)
    content[unfinished : unfinished + 4] = length.to_bytes(4, "little")
    return soundfile.SoundFile(io.BytesIO(bytes(content)))


def _read_foreign(path: Path) -> tuple[np.ndarray, int]:
    try:
        read = foreign.read(path)
    except foreign.NoDecoderError as error:
        raise MissingDecoderError(path) from error
    return read.samples, read.rate


def _mp3_has_length(path: Path) -> bool:
    with mapped(path) as content:
        return mpeg.has_length(content)


def _reason(error: Exception) -> str:
    text = error.error_string if isinstance(error, soundfile.LibsndfileError) else "out of memory"
    text = text.removeprefix("Error : ").rstrip(".")
    if "not recognised" in text:
        return "not an audio file, or of an unknown format"
    return f"cannot be decoded: {text[:1].lower()}{text[1:]}"
