"""A folder of recordings to draw from, read by the excerpt: noise, and impulse responses of rooms.

Any format and rate that libsndfile reads. Files without a suffix of audio, such as a corpus's own
notes, are passed over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from tpactl.audio import mpeg
from tpactl.audio.declared import mapped, shortfall
from tpactl.audio.decode import BadAudioError, named
from tpactl.audio.resample import Samples, resample
from tpactl.audio.suffixes import AUDIO_SUFFIXES
from tpactl.formats.files import canonical_json, sha256_of
from tpactl.formats.progress import Progress

_LOOK = 1_024
"""Samples read at either end of a file."""

_UNKNOWN_LENGTH = 1 << 62
"""Frames that libsndfile reports for a file whose writer could not go back to fill them in."""


@dataclass(frozen=True)
class Recording:
    """One file, as its header describes it."""

    path: Path
    sample_rate: int
    num_samples: int
    """Of each channel."""

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return self.num_samples / self.sample_rate

    def read(self, start: int = 0, count: int = -1) -> np.ndarray:
        """Return (samples, channels), float32, of ``count`` samples from ``start``, or of all.

        Raises:
            BadAudioError: the file is gone, damaged, or holds what is no number.
        """
        try:
            with soundfile.SoundFile(named(self.path)) as file:
                file.seek(start)
                samples: np.ndarray = file.read(count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise BadAudioError(self.path, _reason(error)) from error
        if len(samples) == 0:
            raise BadAudioError(self.path, f"damaged: no audio at {start / self.sample_rate:.2f} s")
        if not np.isfinite(samples).all():
            raise BadAudioError(self.path, "it has samples that are no finite numbers")
        return samples

    def excerpt(self, generator: np.random.Generator, num_samples: int, rate: int) -> Samples:
        """Return a stretch of the recording, the mean of its channels; only that much is read.

        A recording that is shorter goes round, from a place in it that is drawn as well.

        Args:
            generator: chooses where it begins.
            num_samples: wanted, at ``rate``.
            rate: Hz.

        Raises:
            BadAudioError: as ``read``.
        """
        wanted = -(-num_samples * self.sample_rate // rate)
        if self.num_samples > wanted:
            start = int(generator.integers(self.num_samples - wanted + 1))
            heard = self._mono(self.read(start, wanted), rate)
        else:
            whole = self._mono(self.read(), rate)
            heard = np.roll(whole, -int(generator.integers(len(whole))))
        return np.resize(heard, num_samples)

    def _mono(self, samples: np.ndarray, rate: int) -> Samples:
        mono = np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
        return resample(mono, self.sample_rate, rate)


@dataclass
class Recordings:
    """The audio files of ``folder`` and of the folders in it, in the order of their names.

    ``faults`` has a sentence for everything that keeps them from being used; where it is not empty,
    nothing else is to be relied on.

    Args:
        folder: to look into.
        longest_s: a longer file is a fault.
    """

    folder: Path
    longest_s: float = float("inf")
    files: list[Recording] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            what = "is no folder" if self.folder.exists() else "does not exist"
            self.faults.append(f"{self.folder} {what}")
            return
        for path in self._audio():
            try:
                self.files.append(_look(path, self.longest_s))
            except BadAudioError as error:
                self.faults.append(error.problem)
        if not self.files and not self.faults:
            self.faults.append(f"{self.folder} holds no audio file")

    def at(self, place: float) -> Recording:
        """Return the file at ``place``, from 0 up to below 1: each as likely as any other."""
        return self.files[int(place * len(self.files))]

    def digest(self, on_progress: Progress | None = None) -> str:
        """Return ``sha256:<hex>`` of the files' names within the folder and of their content.

        Args:
            on_progress: told after each file.

        Raises:
            BadAudioError: a file cannot be read any more.
        """
        found = []
        for number, file in enumerate(self.files, 1):
            try:
                with file.path.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError as error:
                raise BadAudioError(file.path, _reason(error)) from error
            name = os.fsencode(file.path.relative_to(self.folder).as_posix())
            found.append([name.decode("utf-8", "replace"), digest])
            if on_progress is not None:
                on_progress(f"look through {self.folder.name}", number, len(self.files))
        return sha256_of(canonical_json(found))

    def _audio(self) -> Iterator[Path]:
        def refuse(error: OSError) -> None:
            self.faults.append(f"{error.filename}: cannot be read: {error.strerror or error}")

        for folder, folders, names in os.walk(self.folder, onerror=refuse):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder) / name
                if not name.startswith(".") and path.suffix.lower() in AUDIO_SUFFIXES:
                    yield path


def _look(path: Path, longest_s: float) -> Recording:
    """Return what the header of ``path`` says, after a look at its first and last samples.

    Raises:
        BadAudioError: it is of no use.
    """
    try:
        if not path.is_file():
            raise BadAudioError(path, "is no file")
        if path.stat().st_size == 0:
            raise BadAudioError(path, "the file is empty")
        reason = shortfall(path)
        if reason is not None:
            raise BadAudioError(path, reason)
        if path.suffix.lower() == ".mp3":
            with mapped(path) as content:
                if not mpeg.may_be(content):
                    # libmpg123, asked by this name, would tell stderr about every byte of it.
                    raise BadAudioError(path, "is no MP3, whatever its name says")
        with soundfile.SoundFile(named(path)) as file:
            found = Recording(path, file.samplerate, file.frames)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadAudioError(path, _reason(error)) from error
    if found.num_samples == 0 or found.sample_rate < 1_000:
        raise BadAudioError(path, f"{found.num_samples} samples at {found.sample_rate} Hz")
    if found.num_samples >= _UNKNOWN_LENGTH:
        raise BadAudioError(path, "its header does not say how long it is")
    if found.duration_s > longest_s:
        raise BadAudioError(
            path, f"lasts {found.duration_s:.1f} s; at most {longest_s:g} s are possible"
        )
    found.read(0, _LOOK)
    # A FLAC that is cut off has its whole length in its header; its end cannot be found.
    found.read(max(0, found.num_samples - _LOOK), _LOOK)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    text = getattr(error, "error_string", str(error)).removeprefix("Error : ").rstrip(".")
    if "not recognised" in text or "unknown format" in text.lower():
        return "libsndfile does not read it; convert it to FLAC or WAV"
    return f"damaged or truncated: {text[:1].lower()}{text[1:]}"
