"""Small source folders of real audio files, in the three forms."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import soundfile
from audio.sounds import speech_like


def record(
    path: Path, *, seconds: float = 0.3, rate: int = 16_000, seed: int | None = None
) -> Path:
    """Write one recording; its content depends on its name, so that no two are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(path.name.encode()) if seed is None else seed
    soundfile.write(path, speech_like(seconds, rate, seed), rate)
    return path


def audiofolder(
    root: Path, rows: Iterable[Mapping[str, object]], *, name: str = "metadata.csv"
) -> Path:
    """Write the recordings that ``rows`` name, and the table."""
    rows = [dict(row) for row in rows]
    for row in rows:
        if not (root / str(row["file_name"])).exists():
            record(root / str(row["file_name"]))
    if name.endswith(".csv"):
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        (root / name).write_text(text.getvalue(), encoding="utf-8")
    else:
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def speakers(root: Path, count: int, *, each: int = 2, first: int = 0) -> Path:
    """An audiofolder of ``count`` speakers with ``each`` utterances."""
    return audiofolder(
        root,
        [
            {
                "file_name": f"{speaker:03d}-{take}.wav",
                "transcription": f"take {take} of {speaker}",
                "speaker": f"spk{speaker}",
            }
            for speaker in range(first, first + count)
            for take in range(each)
        ],
    )
