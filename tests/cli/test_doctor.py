"""``tpactl doctor`` tells what is there, what is missing, and fails where something needed is."""

from __future__ import annotations

import pytest

from tpactl import shipped
from tpactl.flows import diagnose


@pytest.fixture
def whole(monkeypatch):
    """An installation whose shipped files are all there."""
    monkeypatch.setattr(
        diagnose, "_shipped_files", lambda: iter([diagnose._ok("starter base", "there")])
    )


def test_a_whole_installation_is_exit_0(tpactl, whole):
    outcome = tpactl("doctor", "--json")
    assert outcome.exit_code == 0, outcome.out
    assert outcome.json["ok"] is True
    names = {check["name"] for check in outcome.json["checks"]}
    assert names >= {
        *diagnose.NEEDED, "python", "libsndfile", "torchaudio", "processor", "memory", "disk",
        "M4A, AAC, WebM",
    }  # fmt: skip


def test_the_table_names_the_next_step(tpactl, whole):
    outcome = tpactl("doctor")
    assert outcome.exit_code == 0
    assert outcome.out.splitlines()[-1] == "next:  tpactl quickstart"


def test_a_package_that_does_not_load_is_exit_6_with_the_command_that_mends_it(
    tpactl, whole, monkeypatch
):
    monkeypatch.setitem(diagnose.NEEDED, "soxr", "tpactl.no_such_module")
    outcome = tpactl("doctor")
    assert outcome.exit_code == 6
    assert "BROKEN" in outcome.out
    assert "broken: soxr" in outcome.err
    assert "fix:   run: pip install --force-reinstall soxr" in outcome.err
    assert tpactl("doctor", "--json").json["ok"] is False


def test_a_starter_base_that_is_gone_is_exit_6(tpactl, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "starter_base", lambda: tmp_path)
    outcome = tpactl("doctor", "--json")
    assert outcome.exit_code == 6
    states = {check["name"]: check["state"] for check in outcome.json["checks"]}
    assert states["starter base"] == "broken"


def test_missing_decoders_are_a_note_with_the_pip_command(tpactl, whole, monkeypatch):
    monkeypatch.setattr(diagnose.shutil, "which", lambda name: None)
    find = diagnose.importlib.util.find_spec
    monkeypatch.setattr(
        diagnose.importlib.util, "find_spec", lambda name: None if name == "av" else find(name)
    )
    outcome = tpactl("doctor", "--json")
    assert outcome.exit_code == 0
    found = [check for check in outcome.json["checks"] if check["name"].startswith("M4A")]
    assert found[0]["state"] == "note"
    assert "pip install 'tpactl[av]'" in found[0]["fix"]
