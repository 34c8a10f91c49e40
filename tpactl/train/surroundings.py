"""Where training puts an utterance: into a room, into noise, on a telephone line.

What happens to an utterance follows from the seed, the epoch and its place in the split alone, so
that a training that is resumed, or shared by several processes, hears the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from tpactl.audio.decode import BadAudioError
from tpactl.audio.noise import add_noise
from tpactl.audio.recordings import Recording, Recordings
from tpactl.audio.resample import Samples, resample
from tpactl.audio.room import reverberate
from tpactl.audio.telephone import over_telephone
from tpactl.errors import InputError
from tpactl.formats.augment import AugmentSettings, Codec
from tpactl.formats.dataset import SAMPLE_RATE
from tpactl.formats.progress import Progress

LONGEST_ROOM_S = 10.0
"""A cathedral's echo; what is longer is no impulse response."""


@dataclass(frozen=True)
class Disturbance:
    """What one utterance meets in one epoch."""

    room: Recording | None
    noise: Recording | None
    snr_db: float
    codec: Codec | None
    seed: list[int]

    def __call__(self, samples: Samples) -> Samples:
        """Return ``samples`` after it: as many, within [-1, 1].

        Raises:
            BadAudioError: a recording cannot be read any more, or is silent where it must not be.
        """
        if self.room is not None:
            samples = reverberate(samples, _response(self.room))
        if self.noise is not None:
            generator = np.random.default_rng([*self.seed, 1])
            noise = self.noise.excerpt(generator, len(samples), SAMPLE_RATE)
            samples = add_noise(samples, noise, self.snr_db)
        # Turned down rather than clipped: clipping would be a disturbance of its own.
        samples = samples / max(1.0, float(np.abs(samples).max()))
        if self.codec is not None:
            samples = np.clip(over_telephone(samples, SAMPLE_RATE, self.codec), -1.0, 1.0)
        return samples.astype(np.float32)


@dataclass(frozen=True)
class Surroundings:
    """Noise and rooms to draw from."""

    noise: Recordings | None
    rooms: Recordings | None
    digests: dict[str, str]
    """Of their folders, under ``noise`` and ``rir``."""

    def draw(
        self, settings: AugmentSettings, *, seed: int, epoch: int, index: int
    ) -> Disturbance | None:
        """Return what the utterance at ``index`` meets in ``epoch``, ``None`` for nothing.

        Args:
            settings: with every probability decided.
            seed: of the training.
            epoch: or the number of the augmented copy.
            index: of the utterance in its split.
        """
        place = [seed, epoch, 2, index]
        # All is drawn in any case, so that one setting does not change what another one draws.
        draws = np.random.default_rng(place).random(7).tolist()
        in_room, in_noise, on_line, room, noise, level, codec = draws
        low, high = settings.noise_snr_db
        codecs = settings.telephone_codecs
        has_room = in_room < (settings.rir_probability or 0.0)
        has_noise = in_noise < (settings.noise_probability or 0.0)
        has_line = settings.telephone and on_line < (settings.telephone_probability or 0.0)
        drawn = Disturbance(
            room=self.rooms.at(room) if self.rooms and has_room else None,
            noise=self.noise.at(noise) if self.noise and has_noise else None,
            snr_db=low + (high - low) * level,
            codec=codecs[int(codec * len(codecs))] if has_line else None,
            seed=place,
        )
        is_met = drawn.room is not None or drawn.noise is not None or drawn.codec is not None
        return drawn if is_met else None


def look_around(settings: AugmentSettings, on_progress: Progress | None = None) -> Surroundings:
    """Return the folders that ``settings`` names, every file of which is looked at.

    Args:
        settings: as the user gave it.
        on_progress: told how reading them goes.

    Raises:
        InputError: a folder without audio, or files that cannot be used; all of them are named.
    """
    noise = None if settings.noise is None else Recordings(Path(settings.noise))
    rooms = None if settings.rir is None else Recordings(Path(settings.rir), LONGEST_ROOM_S)
    named = {"noise": noise, "rir": rooms}
    faults = [
        f"augment.{name}: {fault}"
        for name, folder in named.items()
        for fault in (folder.faults if folder else [])
    ]
    for room in rooms.files if rooms else []:
        try:
            _response(room)
        except BadAudioError as error:
            faults.append(f"augment.rir: {error.problem}")
    if faults:
        raise InputError(
            faults[0], "correct the folder, or name another one in the run file", faults[1:]
        )
    digests = {name: folder.digest(on_progress) for name, folder in named.items() if folder}
    return Surroundings(noise, rooms, digests)


def is_asked_for(settings: AugmentSettings) -> bool:
    """Return whether ``settings`` name noise, rooms or the telephone."""
    return settings.noise is not None or settings.rir is not None or settings.telephone


def wherever(settings: AugmentSettings) -> AugmentSettings:
    """Return ``settings`` with paths that mean the same from any folder."""
    absolute = {
        name: str(Path(folder).resolve())
        for name, folder in (("noise", settings.noise), ("rir", settings.rir))
        if folder is not None
    }
    return msgspec.structs.replace(settings, **absolute)


def disturbed_share(settings: AugmentSettings) -> float:
    """Return the share of the utterances that meet anything at all."""
    shares = [
        settings.noise_probability if settings.noise is not None else None,
        settings.rir_probability if settings.rir is not None else None,
        settings.telephone_probability if settings.telephone else None,
    ]
    return 1.0 - float(np.prod([1.0 - (share or 0.0) for share in shares]))


def _response(room: Recording) -> Samples:
    """Return the impulse response of the first channel: the others are other microphones."""
    first = np.ascontiguousarray(room.read()[:, 0])
    if not first.any():
        raise BadAudioError(room.path, "an impulse response of silence")
    return resample(first, room.sample_rate, SAMPLE_RATE)
