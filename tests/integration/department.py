"""A raw department folder whose speech is tones: one pitch a letter, a factor on it a speaker."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile as sf

PITCHES = {"a": 300.0, "b": 700.0, "c": 1500.0, "d": 3000.0}
"""Hz."""
WORDS = ("ab", "bc", "cad", "dab", "abba")
SPEAKERS = {
    "train": ("ann", "ben", "cas"),
    "dev": ("dee",),
    "test": ("eve", "fay", "gil", "hal", "ida"),
}


def tones(text: str, accent: float, generator: np.random.Generator) -> np.ndarray:
    """Return ``text`` as tones of 0.12 s each, 16 kHz; what is no letter of ours is silence."""
    time = np.arange(int(0.12 * 16_000)) / 16_000
    silence = 0.0 * time
    parts = [
        0.3 * np.sin(2 * np.pi * accent * PITCHES[c] * time) if c in PITCHES else silence
        for c in f" {text} "
    ]
    wave = np.concatenate(parts)
    return wave + 0.003 * generator.standard_normal(len(wave))


def department(folder: Path, utterances: int = 3) -> Path:
    """Write an audio folder with ready-made splits into ``folder`` and return it.

    Args:
        folder: made here.
        utterances: a speaker.
    """
    folder.mkdir(parents=True)
    rows = []
    for split, speakers in SPEAKERS.items():
        for speaker in speakers:
            generator = np.random.default_rng(list(speaker.encode()))
            accent = generator.uniform(0.9, 1.1)
            for number in range(utterances):
                text = " ".join(generator.choice(WORDS, 3))
                name = f"{speaker}-{number}.wav"
                sf.write(folder / name, tones(text, accent, generator), 16_000)
                rows.append([name, text, speaker, split])
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "transcription", "speaker", "split"], *rows])
    return folder
