"""A department whose speech is tones: one pitch a letter, so that a tiny model can learn it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from tpactl.audio.write import write_flac
from tpactl.formats.dataset import (
    SPLITS,
    DataSet,
    DataSetCard,
    SplitSummary,
    Utterance,
    digest_of,
)
from tpactl.formats.files import write_json, write_jsonl

PITCHES = {"a": 300.0, "b": 700.0, "c": 1500.0, "d": 3000.0}
"""Hz."""
WORDS = ("a", "ab", "bc", "cad", "dab", "d")


def tone(text: str, seed: int, accent: float = 1.0) -> np.ndarray:
    """Return ``text`` as tones of 0.12 s each with silence between them, 16 kHz.

    Args:
        text: letters of ``PITCHES``; anything else is silence.
        seed: of the noise.
        accent: factor on every pitch.
    """
    generator = np.random.default_rng(seed)
    time = np.arange(int(0.12 * 16_000)) / 16_000
    pieces = [
        0.3 * np.sin(2 * np.pi * accent * PITCHES[c] * time) if c in PITCHES else 0.0 * time
        for c in f" {text} "
    ]
    wave = np.concatenate([part for p in pieces for part in (p, np.zeros(800))])
    return (wave + 0.003 * generator.standard_normal(len(wave))).astype(np.float32)


def department(
    folder: Path,
    *,
    train: int = 24,
    dev: int = 6,
    accent: float = 1.0,
    texts: dict[str, list[str]] | None = None,
) -> Path:
    """Write a prepared data set of tones into ``folder`` and return it.

    Args:
        folder: made here.
        train: utterances to learn from.
        dev: utterances to choose the best step by.
        accent: see ``tone``.
        texts: transcripts of a split, in place of random words.
    """
    (folder / "audio").mkdir(parents=True)
    rows: dict[str, list[Utterance]] = {}
    for offset, (split, count) in enumerate((("train", train), ("dev", dev), ("test", 0))):
        generator = np.random.default_rng(offset)
        drawn = [" ".join(generator.choice(WORDS, 2)) for _ in range(count)]
        rows[split] = [
            _write(folder, f"{split}-{number}", text, offset * 100 + number, accent)
            for number, text in enumerate((texts or {}).get(split, drawn))
        ]
        write_jsonl(folder / f"{split}.jsonl", rows[split])
    write_json(
        folder / "dataset.json",
        DataSetCard(
            source="tones",
            source_form="pairs",
            digest=digest_of((split, row) for split in rows for row in rows[split]),
            splits={split: _summary(mine) for split, mine in rows.items()},
            split_by="speaker",
            tpactl_version="0",
        ),
    )
    return folder


def relabel(folder: Path, name: str, text: str) -> None:
    """Give one utterance of a data set another transcript, as if it had been prepared so."""
    data = DataSet(folder)
    rows = {split: data.utterances(split) for split in SPLITS}
    for split, mine in rows.items():
        rows[split] = [replace(row, text=text) if row.id == name else row for row in mine]
        write_jsonl(folder / f"{split}.jsonl", rows[split])
    digest = digest_of((split, row) for split in rows for row in rows[split])
    write_json(folder / "dataset.json", replace(data.card, digest=digest))


def _write(folder: Path, name: str, text: str, seed: int, accent: float) -> Utterance:
    wave = tone(text, seed, accent)
    path = f"audio/{name}.flac"
    digest = write_flac(folder / path, wave)
    return Utterance(
        audio_filepath=path,
        duration=len(wave) / 16_000,
        text=text,
        id=name,
        speaker=f"speaker-{seed % 3}",
        audio_digest=digest,
    )


def _summary(rows: list[Utterance]) -> SplitSummary:
    return SplitSummary(
        utterances=len(rows),
        duration_s=sum(row.duration for row in rows),
        speakers=len({row.speaker for row in rows}),
        characters=sum(len(row.text) for row in rows),
    )
