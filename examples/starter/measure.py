"""Step 5 of the starter recipe: word and character error rates of a base, without any adapter.

Reads audiofolders (``metadata.csv`` with ``file_name``, ``transcription``, ``speaker``) and shards
of ``speech.py``; prints a table with a row for each, and with ``--speakers`` for each speaker.

    python measure.py heldout/heldout.npz SPEECH/general/dev
    python measure.py --base trained --speakers SPEECH/general/dev

Decoding is greedy. References are brought into the base's own alphabet (``Base.prepare_text``),
nothing else is normalised. Errors are summed over all utterances and given in percent.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from tpactl.bases.base import SAMPLE_RATE, Base
from tpactl.bases.load import load_base
from tpactl.bases.recognise import recognise
from tpactl.scoring.wer import count, count_characters, rate


@dataclass(frozen=True)
class Recording:
    """One utterance of a test set."""

    path: Path
    transcript: str
    speaker: str


def read_audiofolder(folder: Path) -> list[Recording]:
    """Return the recordings that ``folder/metadata.csv`` lists."""
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return [
            Recording(folder / row["file_name"], row["transcription"], row.get("speaker") or "?")
            for row in csv.DictReader(file)
        ]


def unpack_shard(shard: Path, folder: Path) -> list[Recording]:
    """Return a shard's clips, written as FLAC files into ``folder``; the speaker is the voice."""
    recordings = []
    with np.load(shard) as content:
        clips = np.split(content["samples"], np.cumsum(content["lengths"])[:-1])
        texts, voices = content["texts"].tolist(), content["voices"].tolist()
    for number, (clip, text, voice) in enumerate(zip(clips, texts, voices, strict=True)):
        path = folder / f"{number:05d}.flac"
        soundfile.write(path, clip, SAMPLE_RATE)
        recordings.append(Recording(path, text, voice))
    return recordings


@contextmanager
def open_test_set(source: Path) -> Iterator[list[Recording]]:
    """Yield the recordings of an audiofolder or a shard; a shard's files are gone afterwards."""
    if source.is_dir():
        yield read_audiofolder(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield unpack_shard(source, Path(folder))


def measure(base: Base, recordings: list[Recording]) -> tuple[list[str], list[str]]:
    """Return references and hypotheses, both in the base's alphabet."""
    paths = [recording.path for recording in recordings]
    durations_s = [soundfile.info(path).duration for path in paths]
    references = [base.prepare_text(recording.transcript) for recording in recordings]
    return references, recognise(base, paths, durations_s, batch_s=60.0).texts


def row(name: str, references: list[str], hypotheses: list[str]) -> str:
    """Return one row of the table."""
    word_rate = 100 * rate(count(references, hypotheses))
    character_rate = 100 * rate(count_characters(references, hypotheses))
    return f"| {name} | {len(references)} | {word_rate:.1f} | {character_rate:.1f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", type=Path, nargs="+", help="audiofolder or .npz shard")
    parser.add_argument("--base", default="starter")
    parser.add_argument("--speakers", action="store_true", help="a row for each speaker as well")
    parser.add_argument("--threads", type=int, help="CPU threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    base = load_base(arguments.base)
    print("| test set | utterances | WER % | CER % |\n|---|---|---|---|", flush=True)
    for source in arguments.sources:
        with open_test_set(source) as recordings:
            references, hypotheses = measure(base, recordings)
        print(row(f"{source.parent.name}/{source.stem}", references, hypotheses), flush=True)
        for speaker in sorted({r.speaker for r in recordings}) if arguments.speakers else ():
            chosen = [i for i, r in enumerate(recordings) if r.speaker == speaker]
            theirs = [references[i] for i in chosen], [hypotheses[i] for i in chosen]
            print(row(f"- {speaker}", *theirs), flush=True)


if __name__ == "__main__":
    main()
