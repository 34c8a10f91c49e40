"""From recordings to a page and a decision, through the commands, with real parts."""

from __future__ import annotations

import json

import pytest

from tests.eval.builders import heard_by, talking_base, write_data, write_run
from tests.gate.test_gate import policy_file


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a base, a run and a test set whose words the base hears."""
    folder = tmp_path_factory.mktemp("department")
    base = talking_base(folder / "base")
    draft = write_data(folder / "draft", [""] * 8)
    write_data(folder / "data", heard_by(base, draft))
    write_run(folder / "run", base)
    return folder


def test_eval_writes_the_page_that_gate_and_report_go_on_with(tpactl, place, tmp_path):
    out = tmp_path / "report"
    done = tpactl("eval", "--data", place / "data", "--run", place / "run", "--single", 1,
                  "--slice-by", "speaker", "--out", out, "--lang", "ja")  # fmt: skip
    assert done.exit_code == 0, done.err
    page = (out / "report.html").read_text()
    assert '<html lang="ja">' in page
    assert page.count("data:audio/ogg") == 8
    policy = policy_file(tmp_path, min_test_speakers=2, max_error_rate=0.01)
    judged = tpactl("gate", "--report", out, "--policy", policy)
    assert judged.exit_code == 7, judged.err
    assert json.loads((out / "gate.json").read_text())["system"]["name"] == "run"
    again = tpactl("report", out, "--no-audio", "--json")
    assert again.exit_code == 0
    page = (out / "report.html").read_text()
    assert "run fails 1 rule of the policy." in page
    assert "data:audio" not in page


def test_no_audio_of_eval_keeps_recordings_out(tpactl, place, tmp_path):
    out = tmp_path / "report"
    done = tpactl("eval", "--data", place / "data", "--run", place / "run", "--single", 0,
                  "--out", out, "--no-audio")  # fmt: skip
    assert done.exit_code == 0, done.err
    assert "data:audio" not in (out / "report.html").read_text()


def test_an_unknown_language_is_refused_before_the_work(tpactl, place, tmp_path):
    done = tpactl("eval", "--data", place / "data", "--run", place / "run",
                  "--out", tmp_path / "report", "--lang", "fr")  # fmt: skip
    assert done.exit_code == 2
    assert "choose one of: en, ja" in done.err
    assert not (tmp_path / "report").exists()
