"""Noise and rooms for trainings: short folders of several formats and rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def noises(folder: Path) -> Path:
    """Write a folder of noise into ``folder`` and return it: three formats, three rates."""
    (folder / "street").mkdir(parents=True)
    generator = np.random.default_rng(5)
    long = 0.1 * generator.standard_normal((4 * 44_100, 2))
    soundfile.write(folder / "street" / "cars.flac", long, 44_100)
    hum = 0.05 * np.sin(2 * np.pi * 120 * np.arange(2_000) / 8_000)
    soundfile.write(folder / "hum.wav", hum, 8_000)
    soundfile.write(folder / "fan.ogg", np.cumsum(generator.normal(0, 1e-3, 32_000)), 16_000)
    (folder / "LICENSE").write_text("none of the audio")
    return folder


def rooms(folder: Path) -> Path:
    """Write a folder of impulse responses into ``folder`` and return it."""
    folder.mkdir(parents=True)
    for number, rt60_s in enumerate((0.2, 0.5)):
        times = np.arange(int(rt60_s * 16_000)) / 16_000
        tail = np.random.default_rng(number).normal(size=len(times)) * 10 ** (-3 * times / rt60_s)
        response = np.concatenate([np.zeros(100 * number), [1.0], 0.1 * tail])
        soundfile.write(folder / f"room-{number}.wav", response, 16_000, subtype="FLOAT")
    return folder


def all_of(folder: Path) -> tuple[str, ...]:
    """Return settings that put four of five utterances somewhere."""
    return (
        f"augment.noise={noises(folder / 'noise')}",
        f"augment.rir={rooms(folder / 'rooms')}",
        "augment.telephone=true",
        "augment.noise_probability=0.4",
        "augment.rir_probability=0.4",
        "augment.telephone_probability=0.4",
    )
