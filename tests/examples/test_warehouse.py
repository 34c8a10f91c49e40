"""The example department is what its card says: synthetic, small, and split without leaks."""

import csv
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import soundfile as sf

from tpactl.shipped import example_department

WAREHOUSE = example_department()
EXAMPLES = Path(__file__).parents[2] / "examples"
COLUMNS = ["file_name", "transcription", "speaker", "split", "engine", "voice", "channel"]


def rows() -> list[dict[str, str]]:
    with (WAREHOUSE / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_split(column: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows():
        found.setdefault(row["split"], set()).add(row[column])
    return found


def test_metadata_lists_every_file_once_and_no_other() -> None:
    listed = [row["file_name"] for row in rows()]
    on_disk = sorted(p.relative_to(WAREHOUSE).as_posix() for p in WAREHOUSE.rglob("*.opus"))
    assert sorted(listed) == on_disk
    assert len(listed) == 148
    assert list(rows()[0]) == COLUMNS


def test_every_file_decodes_to_a_plausible_length() -> None:
    seconds: Counter[str] = Counter()
    for row in rows():
        samples, rate = sf.read(WAREHOUSE / row["file_name"])
        assert (rate, samples.ndim) == (16_000, 1)
        assert 1.0 < len(samples) / rate < 12.0, row["file_name"]
        assert 0.1 < abs(samples).max() < 1.0, row["file_name"]
        seconds[row["split"]] += len(samples) / rate
    assert {split: round(total) for split, total in seconds.items()} == {
        "train": 391,
        "dev": 93,
        "test": 203,
    }


@pytest.mark.parametrize("column", ["speaker", "voice", "transcription"])
def test_splits_share_no(column: str) -> None:
    found = by_split(column)
    assert set(found) == {"train", "dev", "test"}
    for one, other in combinations(found, 2):
        assert not found[one] & found[other], (one, other)


def test_enough_test_voices_for_an_interval_by_speaker() -> None:
    assert {split: len(names) for split, names in by_split("speaker").items()} == {
        "train": 14,
        "dev": 5,
        "test": 11,
    }


def test_texts_use_the_starters_alphabet_only() -> None:
    for row in rows():
        assert re.fullmatch(r"[a-z']+( [a-z']+)*", row["transcription"]), row


def test_every_word_of_the_test_set_occurs_in_train() -> None:
    words: dict[str, set[str]] = {}
    for row in rows():
        words.setdefault(row["split"], set()).update(row["transcription"].split())
    assert words["test"] <= words["train"]


def test_examples_are_at_most_5_megabytes() -> None:
    assert sum(p.stat().st_size for p in EXAMPLES.rglob("*") if p.is_file()) <= 5_000_000


def test_card_says_that_it_is_synthetic() -> None:
    assert "Synthetic" in (WAREHOUSE / "README.md").read_text(encoding="utf-8")
    assert "synthetic" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("espeak-ng") is None or shutil.which("flite") is None,
    reason="espeak-ng and flite are not installed",
)
def test_script_makes_the_same_sentences_and_lengths_again(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "make_warehouse.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "metadata.csv").read_bytes() == (WAREHOUSE / "metadata.csv").read_bytes()
    for row in rows():
        # Not the bytes: another build of a synthesiser or codec may round otherwise.
        made, shipped = (sf.info(str(d / row["file_name"])) for d in (tmp_path, WAREHOUSE))
        assert abs(made.frames - shipped.frames) < 0.05 * shipped.frames
