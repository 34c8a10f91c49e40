"""``tpactl train`` as a user meets it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.train.conftest import FAST
from tests.train.tones import tone
from tpactl.audio.write import write_flac
from tpactl.formats.dataset import DataSet
from tpactl.formats.run import Run

QUICK = [part for override in FAST for part in ("--set", override)]


@pytest.fixture
def recordings(tmp_path):
    """A department's raw folder: six speakers of tones."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "transcription", "speaker"])
        for number in range(18):
            text = ["a b", "cad", "dab d"][number % 3]
            write_flac(folder / f"{number}.flac", tone(text, number))
            rows.writerow([f"{number}.flac", text, f"speaker-{number % 6}"])
    return folder


def test_json_is_one_object_with_the_runs_figures(tpactl, taught, accent, tmp_path):
    out = tmp_path / "run"
    done = tpactl(
        "train",
        "--data",
        accent,
        "--base",
        taught,
        "--out",
        out,
        *QUICK,
        "--max-steps",
        4,
        "--json",
    )
    assert (done.exit_code, done.err) == (0, "")
    record = Run(out).record
    assert done.json["run"] == str(out)
    assert done.json["steps"] == record.cost.steps == 4
    assert done.json["best_dev_wer"] == record.best_dev_wer
    assert done.json["stopped_by"] == "steps"
    assert done.json["trained_parameters"] == record.cost.trained_parameters


def test_the_last_lines_show_what_was_won_and_the_next_command(tpactl, taught, accent, tmp_path):
    out = tmp_path / "run"
    done = tpactl("train", "--data", accent, "--base", taught, "--out", out, *QUICK)
    record = Run(out).record
    shown = " ".join(done.out.split())
    assert done.exit_code == 0
    assert f"{record.base_dev_wer:.1%} -> {record.best_dev_wer:.1%}" in shown
    assert f"{record.cost.trained_parameters:,} parameters" in shown
    assert f"tpactl eval --data {accent} --split test --run {out} --out report" in done.out
    assert record.chosen.startswith("for 0.0")
    assert "h of speech (up to 0.25 h): evaluations=10" in shown
    assert done.err == ""


def test_flags_win_over_the_run_file(tpactl, taught, accent, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"data": str(accent), "method": "head", "base": str(taught),
                                    "training": {"max_steps": 2, "seed": 4}}))  # fmt: skip
    done = tpactl("train", "--config", file, "--out", tmp_path / "run", "--max-steps", 1, "--json")
    config = Run(tmp_path / "run").record.config
    assert done.exit_code == 0
    assert (config.method, config.training.max_steps, config.training.seed) == ("head", 1, 4)


def test_a_raw_folder_is_prepared_beside_the_run_and_brought_up_to_date(
    tpactl, taught, recordings, tmp_path
):
    command = ["train", "--data", recordings, "--base", taught, "--out", tmp_path / "run",
               *QUICK, "--max-steps", 1, "--json"]  # fmt: skip
    done = tpactl(*command)
    assert done.exit_code == 0, done.err
    data = DataSet(tmp_path / "run-data")
    assert done.json["data"] == str(data.folder)
    places = {row.id: split for split in data.card.splits for row in data.utterances(split)}
    assert len(places) == 18
    write_flac(recordings / "18.flac", tone("a d", 18))
    with (recordings / "metadata.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["18.flac", "a d", "speaker-0"])
    assert tpactl(*command, "--force").exit_code == 0
    data = DataSet(tmp_path / "run-data")
    after = {row.id: split for split in data.card.splits for row in data.utterances(split)}
    assert len(after) == 19
    assert places.items() <= after.items()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "training.sed=1"], 2, "unknown key training.sed; the closest is training.seed"),
        (["--max-steps", "0"], 2, "training.max_steps: expected `int` >= 1"),
        (["--set", "training.patience=abc"], 2, "training.patience: expected `int | null`, got"),
        (["--force", "--resume"], 2, "--force throws an unfinished training away, --resume goes"),
        (["--device", "tpu"], 2, "no such device: 'tpu'"),
        (["--device", "cuda:77"], 6, "device cuda:77 is not on this machine"),
        (["--data", "nowhere"], 3, "nowhere does not exist"),
        (["--base", "nowhere"], 4, "no base called 'nowhere'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_exit_code(
    arguments, code, said, tpactl, taught, accent, tmp_path
):
    out = tmp_path / "run"
    given = ["train", "--data", accent, "--base", taught, "--out", out, *arguments]
    done = tpactl(*given)
    assert done.exit_code == code
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert lines[-1].startswith("fix:   ")
    as_json = tpactl(*given, "--json")
    assert as_json.json["exit_code"] == code
    assert said in as_json.json["error"]
    assert list(tmp_path.iterdir()) == []


def test_without_data_the_fix_names_the_flag(tpactl, tmp_path):
    done = tpactl("train", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "--data" in done.err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminate"]
)
def test_an_interrupt_in_the_middle_leaves_nothing(number, code, taught, accent, tmp_path):
    before = tmp_path / "precious.txt"
    before.write_text("mine")
    command = [sys.executable, "-m", "tpactl", "train", "--data", accent, "--base", taught,
               "--out", tmp_path / "run", *QUICK, "--epochs", "100000"]  # fmt: skip
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for_step(tmp_path)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    assert (out, err) == ("", "interrupted\n")
    assert list(tmp_path.iterdir()) == [before]


def wait_for_step(folder: Path) -> None:
    """Return when a training below ``folder`` has made a few steps."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for events in folder.glob("*.unfinished/events.jsonl"):
            lines = [json.loads(line) for line in events.read_text().splitlines()[:-1]]
            if sum(line["kind"] == "step" for line in lines) > 3:
                return
        time.sleep(0.05)
    raise AssertionError("no step within a minute")
