"""What ``tpactl quickstart`` says when it cannot begin, and how its result is drawn."""

from __future__ import annotations

import json


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
