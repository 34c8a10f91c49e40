"""``tpactl doctor`` tells what is there, what is missing, and fails where something needed is."""

from __future__ import annotations

import importlib.metadata
from email.message import Message

import pytest

from tpactl import shipped
from tpactl.flows import diagnose, requirements


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
        "torch", "transformers", "pyyaml", "filelock", "python", "libsndfile",
        "torchaudio", "processor", "memory", "disk", "M4A, AAC, WebM",
    }  # fmt: skip


def test_the_table_names_the_next_step(tpactl, whole):
    outcome = tpactl("doctor")
    assert outcome.exit_code == 0
    assert outcome.out.splitlines()[-1] == "next:  tpactl quickstart"


def test_a_package_that_does_not_load_is_exit_6_with_the_command_that_mends_it(
    tpactl, whole, monkeypatch
):
    monkeypatch.setitem(diagnose.MODULES, "soxr", "tpactl.no_such_module")
    outcome = tpactl("doctor")
    assert outcome.exit_code == 6
    assert "BROKEN" in outcome.out
    assert "broken: soxr" in outcome.err
    assert "fix:   run: pip install --force-reinstall 'soxr>=" in outcome.err
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


def test_needs_and_extras_are_those_of_the_installation(monkeypatch):
    said = Message()
    for extra in ("dev", "peft", "plot"):
        said["Provides-Extra"] = extra
    for line in (
        "rich>=14", "typer>=99", "colorama; sys_platform == 'nowhere'",
        "no-such-thing>=1; extra == 'peft'", "numpy; extra == 'plot'", "soxr>=0.1; extra == 'plot'",
        "pytest; extra == 'dev'",
    ):  # fmt: skip
        said["Requires-Dist"] = line
    monkeypatch.setattr(requirements.importlib.metadata, "metadata", lambda name: said)
    needed = {package.name: package for package in requirements.needed()}
    assert needed.keys() == {"rich", "typer"}
    assert (needed["rich"].fits, needed["typer"].fits) == (True, False)
    extras = requirements.extras()
    assert {extra: [p.fits for p in packages] for extra, packages in extras.items()} == {
        "peft": [False], "plot": [True, True],
    }  # fmt: skip


def test_a_package_of_another_version_than_needed_is_broken(tpactl, whole, monkeypatch):
    old = requirements.Package("transformers", ">=5.23,<6", "4.57.0", False)
    monkeypatch.setattr(requirements, "needed", lambda: [old])
    outcome = tpactl("doctor")
    assert outcome.exit_code == 6
    assert "fix:   run: pip install 'transformers>=5.23,<6'" in outcome.err


def test_an_extra_that_is_not_there_is_a_note_with_its_pip_command(tpactl, whole, monkeypatch):
    gone = requirements.Package("optuna", ">=4.1,<6", None, False)
    monkeypatch.setattr(requirements, "extras", lambda: {"search": [gone]})
    outcome = tpactl("doctor", "--json")
    assert outcome.exit_code == 0
    (found,) = [check for check in outcome.json["checks"] if check["name"] == "extra search"]
    assert (found["state"], found["value"]) == ("note", "no optuna")
    assert found["fix"].endswith("pip install 'tpactl[search]'")


def test_from_a_folder_without_installation_the_rest_is_still_checked(tpactl, whole, monkeypatch):
    def not_installed(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirements.importlib.metadata, "metadata", not_installed)
    outcome = tpactl("doctor", "--json")
    assert outcome.exit_code == 0
    assert {"packages", "disk"} <= {check["name"] for check in outcome.json["checks"]}
