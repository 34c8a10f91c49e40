"""A transducer's whole life on recorded speech: train, evaluate, package, verify, transcribe."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import soundfile as sf

from tests.models import TRANSDUCERS, tiny_base

SPEAKERS = {"train": 4, "dev": 2, "test": 2}
CLIPS = 2
"""A speaker."""


@pytest.fixture(scope="module")
def audio(speech_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of short recordings of several speakers, less than a minute in all."""
    source = speech_dir / "departments" / "accented-english" / "train"
    with (source / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_speaker: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        row["duration"] = sf.info(source / row["file_name"]).duration  # type: ignore[assignment]
        by_speaker.setdefault(row["speaker"], []).append(row)
        if len(by_speaker) > 12:
            break
    folder = tmp_path_factory.mktemp("recorded") / "audio"
    folder.mkdir()
    chosen = iter(
        sorted(clips, key=lambda row: row["duration"])[:CLIPS]
        for clips in by_speaker.values()
        if len(clips) > CLIPS
    )
    written = []
    for split, count in SPEAKERS.items():
        for _ in range(count):
            for row in next(chosen):
                shutil.copy(source / row["file_name"], folder)
                written.append([row["file_name"], row["transcription"], row["speaker"], split])
    assert sum(sf.info(path).duration for path in folder.glob("*.opus")) < 60
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "transcription", "speaker", "split"], *written])
    return folder


@pytest.mark.parametrize("family", TRANSDUCERS)
def test_an_adapter_of_a_transducer_is_trained_measured_packaged_and_heard(
    family, audio, tpactl, tmp_path
):
    base = tiny_base(tmp_path / "base", family)
    run, data, package = tmp_path / "run", tmp_path / "data", tmp_path / "a.tpa"
    assert tpactl("prepare", audio, "--out", data).exit_code == 0
    done = tpactl(
        "train", "--data", data, "--base", base, "--out", run, "--json",
        "--set", "training.max_steps=12", "--set", "training.evaluations=3",
        "--set", "training.learning_rate=0.02", "--set", "training.head_learning_rate=0.02",
        "--set", "adapter.bottleneck_dim=4", "--set", "decoder=[head, decoder]",
    )  # fmt: skip
    assert done.exit_code == 0, done.out
    stored = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert stored["modules_to_save"] == ["joint.head", "decoder"]

    report = tmp_path / "report"
    done = tpactl("eval", "--data", data, "--split", "test", "--base", base, "--run", run,
                  "--out", report, "--json")  # fmt: skip
    assert done.exit_code == 0, done.out
    rows = [json.loads(line) for line in (report / "utterances.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * SPEAKERS["test"] * CLIPS

    done = tpactl("package", run, "--name", "recorded/words", "--version", "1.0.0",
                  "--eval", report, "--out", package, "--json")  # fmt: skip
    assert done.exit_code == 0, done.out
    kind = family.removeprefix("parakeet-")
    assert stored["task_type"] == kind.upper()
    assert f"- conformer-{kind}" in tpactl("inspect", package, "--card").out
    done = tpactl("verify", package, "--base", base, "--json")
    assert done.exit_code == 0, done.out
    canary = done.json["canary"]
    assert canary["passed"]
    assert canary["adapter_effect"] > canary["tolerance"]

    # Each is heard alone as in the report's batches.
    heard = {row["id"]: row["hypothesis"] for row in rows if row["system"] == "run"}
    alone = {row["id"]: row["hypothesis"] for row in rows if row["system"] == "base"}
    assert heard != alone
    files = {
        json.loads(line)["id"]: data / json.loads(line)["audio_filepath"]
        for line in (data / "test.jsonl").read_text().splitlines()
    }
    done = tpactl("transcribe", *files.values(), "--base", base, "--package", package, "--json")
    assert done.exit_code == 0, done.out
    said = [entry["text"] for entry in done.json["transcripts"]]
    assert said == [heard[name] for name in files]

    other = tiny_base(tmp_path / "other", family, seed=1)
    done = tpactl("verify", package, "--base", other)
    assert done.exit_code == 4
    assert "decoder.lstm" in done.err
