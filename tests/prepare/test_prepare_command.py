"""``tpactl prepare`` as a user sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from prepare.folders import record, speakers


def test_the_table_and_the_next_step(tpactl, tmp_path):
    done = tpactl("prepare", speakers(tmp_path / "in", 30), "--out", tmp_path / "out")
    assert done.exit_code == 0, done.err
    lines = [line.split() for line in done.out.splitlines() if line.strip()]
    assert lines[0] == ["split", "utterances", "hours", "speakers", "characters"]
    assert [line[0] for line in lines[2:5]] == ["train", "dev", "test"]
    assert sum(int(line[1]) for line in lines[2:5]) == 60
    assert sum(int(line[3]) for line in lines[2:5]) == 30
    assert f"tpactl train --data {tmp_path / 'out'} --base starter --out run" in done.out


def test_json_is_the_card(tpactl, tmp_path):
    done = tpactl("prepare", speakers(tmp_path / "in", 30), "--out", tmp_path / "out", "--json")
    assert done.json["splits"]["train"]["utterances"] > 30
    assert done.json["digest"].startswith("sha256:")


def test_bad_files_are_one_error_or_a_list(tpactl, tmp_path):
    source = speakers(tmp_path / "in", 30)
    (source / "000-0.wav").write_text("ruined")
    record(source / "extra.wav")
    failed = tpactl("prepare", source, "--out", tmp_path / "out")
    assert failed.exit_code == 3
    assert failed.err.startswith(f"error: {source}: 2 of 61 files are bad\n")
    assert "000-0.wav: not an audio file" in failed.err
    assert "extra.wav: no transcript" in failed.err
    assert not (tmp_path / "out").exists()
    as_json = tpactl("prepare", source, "--out", tmp_path / "out", "--json")
    assert (as_json.exit_code, as_json.json["exit_code"], len(as_json.json["details"])) == (3, 3, 2)
    skipped = tpactl("prepare", source, "--out", tmp_path / "out", "--skip-bad")
    assert skipped.exit_code == 0
    assert "2 bad files were left out" in skipped.err
    assert "extra.wav: no transcript" in skipped.err


def test_usage_errors(tpactl, tmp_path):
    source = speakers(tmp_path / "in", 3)
    assert tpactl("prepare", source).exit_code == 2
    wrong = tpactl("prepare", source, "--out", tmp_path / "out", "--dev-fraction", "2")
    assert wrong.exit_code == 2
    assert "dev_fraction is 2.0" in wrong.err


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_leaves_nothing(tmp_path):
    source = tmp_path / "in"
    speakers(source, 4)
    for number in range(40):
        record(source / f"long{number}.wav", seconds=30, rate=44_100)
    with (source / "metadata.csv").open("a") as table:
        table.writelines(f"long{number}.wav,hello,x\n" for number in range(40))
    running = subprocess.Popen(
        [sys.executable, "-m", "tpactl", "prepare", str(source), "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".building-*/audio/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert err.strip() == "interrupted"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_real_department(speech_dir, tpactl, tmp_path):
    source = speech_dir / "departments" / "call-desk-alphanumerics"
    done = tpactl("prepare", source, "--out", tmp_path / "out", "--test-from", "dev", "--json")
    assert done.exit_code == 0, done.err
    splits = done.json["splits"]
    assert (splits["test"]["utterances"], splits["test"]["speakers"]) == (48, 24)
    assert splits["train"]["speakers"] + splits["dev"]["speakers"] == 45
    assert done.json["skipped"] == []
