"""What ``tpactl quickstart`` says when it cannot begin, and how its result is drawn."""

from __future__ import annotations

import io
import json
import time

from rich.console import Console

from tpactl.cli import console
from tpactl.cli.quickstart import Screen
from tpactl.flows.quickstart import Step


def test_a_file_as_workdir_is_refused_in_two_lines(tpactl, tmp_path):
    (tmp_path / "file").write_text("mine")
    outcome = tpactl("quickstart", "--workdir", tmp_path / "file")
    assert outcome.exit_code == 2
    assert outcome.err.splitlines() == [
        f"error: {tmp_path / 'file'} is a file; a folder is needed",
        "fix:   choose another --workdir",
    ]


def test_a_folder_with_the_users_own_data_is_refused_and_left_alone(tpactl, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.wav").write_bytes(b"mine")
    outcome = tpactl("quickstart", "--workdir", tmp_path, "--json")
    assert outcome.exit_code == 2
    assert json.loads(outcome.out)["error"] == (
        f"{tmp_path / 'data'} exists and is not from an earlier run in this folder"
    )
    assert (tmp_path / "data/mine.wav").read_bytes() == b"mine"


def test_steps_under_way_at_once_have_a_bar_each_until_theirs_is_done(monkeypatch, capsys):
    shown = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"})
    monkeypatch.setattr(console, "PATIENCE_S", 0.05)
    monkeypatch.setattr(console.ProgressBar.__init__, "__defaults__", (shown,))
    screen = Screen(silent=False)
    screen.end(Step(1, "prepare", "done", 1.0, kept=False))
    for name in ("train tpa", "train full"):
        screen.begin(name)
        screen.progress(name, "steps", 1, 10)
    screen.note("train full", "dev WER 33.0%")
    time.sleep(0.3)
    both = shown.file.getvalue()
    screen.end(Step(2, "train tpa", "done", 1.0, kept=False))
    end = len(shown.file.getvalue())
    screen.progress("train full", "steps", 2, 10)
    time.sleep(0.3)
    alone = shown.file.getvalue()[end:]
    screen.close()
    lines = both.splitlines()
    assert any("train tpa: steps" in line and "dev WER" not in line for line in lines)
    assert any("train full: steps" in line and "dev WER 33.0%" in line for line in lines)
    assert "train full: steps" in alone
    assert "train tpa" not in alone
    assert "2 train tpa" in capsys.readouterr().out


def test_lines_stand_in_the_order_of_the_steps_whichever_is_done_first(capsys):
    screen = Screen(silent=False)
    screen.end(Step(1, "prepare", "done", 1.0, kept=False))
    screen.end(Step(3, "train full", "done", 1.0, kept=False))
    assert "train full" not in capsys.readouterr().out
    screen.end(Step(2, "train tpa", "done", 1.0, kept=False))
    out = capsys.readouterr().out
    assert out.index("2 train tpa") < out.index("3 train full")
