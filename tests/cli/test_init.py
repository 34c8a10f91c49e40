"""``tpactl init`` starts a department and never takes anything away."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
import pytest
import yaml

from tpactl import shipped
from tpactl.flows import start as start_flow
from tpactl.formats.run import RunConfig
from tpactl.train import settings

FILES = [
    "README.md",
    "audio/README.md",
    "audio/metadata.csv",
    "model_card.md",
    "policy.yaml",
    "run.yaml",
    "search.yaml",
]


def keys(tree: dict[str, Any], before: str = "") -> set[str]:
    found = set()
    for key, value in tree.items():
        inner = keys(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}"}
        found |= inner
    return found


def test_init_writes_every_template_and_names_the_next_step(tpactl, tmp_path):
    folder = tmp_path / "deep" / "warehouse"
    outcome = tpactl("init", folder)
    assert outcome.exit_code == 0
    written = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert written == FILES
    assert outcome.out.splitlines()[-1].startswith(f"next:  tpactl prepare {folder / 'audio'}")


def test_init_json(tpactl, tmp_path):
    outcome = tpactl("init", tmp_path / "new", "--json")
    assert outcome.json == {
        "schema_version": 1,
        "folder": str(tmp_path / "new"),
        "written": FILES,
    }


def test_init_overwrites_nothing_and_lists_what_is_there(tpactl, tmp_path):
    (tmp_path / "run.yaml").write_text("mine")
    outcome = tpactl("init", tmp_path)
    assert outcome.exit_code == 2
    assert "       run.yaml\n" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]
    assert (tmp_path / "run.yaml").read_text() == "mine"


def test_init_keeps_other_files(tpactl, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert tpactl("init", tmp_path).exit_code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_init_of_a_file_is_a_usage_error(tpactl, tmp_path):
    (tmp_path / "file").touch()
    outcome = tpactl("init", tmp_path / "file")
    assert outcome.exit_code == 2
    assert "is a file" in outcome.err


@pytest.mark.parametrize("at", range(1, len(FILES) + 1))
def test_an_interrupt_anywhere_leaves_what_was_there_before(tpactl, tmp_path, monkeypatch, at):
    calls = 0
    write = start_flow.write_bytes

    def interrupted(path, content):
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(start_flow, "write_bytes", interrupted)
    outcome = tpactl("init", tmp_path / "a" / "b")
    assert (outcome.exit_code, outcome.err) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_the_run_file_is_valid_and_states_the_defaults():
    tree = yaml.safe_load((shipped.templates() / "run.yaml").read_text())
    assert msgspec.convert(tree, RunConfig, strict=True) == RunConfig()
    assert settings.read(shipped.templates() / "run.yaml") == RunConfig()


def test_the_run_file_explains_every_key():
    text = (shipped.templates() / "run.yaml").read_text()
    assert keys(yaml.safe_load(text)) == keys(msgspec.to_builtins(RunConfig()))
    bare = [
        line
        for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        if ":" in line and not line.lstrip().startswith("#") and not before.lstrip().startswith("#")
    ]
    assert bare == []


def test_the_next_command_can_be_pasted_into_a_shell(tpactl, tmp_path):
    folder = tmp_path / "my department; $HOME"
    outcome = tpactl("init", folder)
    command = outcome.out.splitlines()[-1].removeprefix("next:  ")
    assert shlex.split(command)[2:] == [str(folder / "audio"), "--out", str(folder / "data")]


def test_a_file_where_a_folder_is_needed_leaves_nothing_half_written(tpactl, tmp_path):
    (tmp_path / "audio").write_text("somebody's")
    outcome = tpactl("init", tmp_path)
    assert outcome.exit_code == 2
    assert f"{tmp_path / 'audio'} is a file" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["audio"]
