"""Every command explains itself, at once, on any terminal, with an example that is right."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest
from command_tree import commands, examples

from tpactl import __version__
from tpactl.cli import help as help_page
from tpactl.cli.app import COMMANDS

HEAVY = ("torch", "transformers", "numpy", "scipy", "soundfile", "matplotlib", "huggingface_hub")
ALL = commands()
NAMES = [" ".join(path) for path in ALL]


def test_the_tree_holds_every_command_of_the_table():
    assert {path[0] for path in ALL if path} == set(COMMANDS)


def test_bare_tpactl_shows_the_lifecycle_and_the_next_step(tpactl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = tpactl()
    assert outcome.exit_code == 0
    order = ["prepare", "train", "eval", "gate", "package", "verify", "transcribe"]
    places = [outcome.out.index(f"{name} ") for name in order]
    assert places == sorted(places)
    assert "next:  tpactl quickstart" in outcome.out


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (["audio/metadata.csv"], "tpactl prepare audio --out data"),
        (["data/dataset.json"], "tpactl train --data data --out run"),
        (["data/dataset.json", "run/run.json"], "tpactl eval --data data --split test --run run"),
        (["run/run.json", "report/report.json"], "tpactl package run --name"),
        (
            ["run/run.json", "report/report.json", "policy.yaml"],
            "tpactl gate --report report --policy policy.yaml",
        ),
        (
            ["run/run.json", "report/report.json", "policy.yaml", "report/gate.json"],
            "tpactl package run --name",
        ),
        (["adapter.tpa", "run/run.json"], "tpactl verify adapter.tpa"),
    ],
)
def test_bare_tpactl_names_the_step_that_the_folder_is_ready_for(
    tpactl, tmp_path, monkeypatch, files, command
):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert f"next:  {command}" in tpactl().out


def test_version(tpactl):
    assert tpactl("--version").out == f"tpactl {__version__}\n"


def test_python_m_tpactl_is_the_same_program():
    process = subprocess.run(
        [sys.executable, "-m", "tpactl", "--version"], capture_output=True, text=True, check=True
    )
    assert process.stdout == f"tpactl {__version__}\n"


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_help_ends_with_an_example_of_this_command(tpactl, path):
    outcome = tpactl(*path, "--help")
    assert outcome.exit_code == 0
    assert outcome.out.startswith(f"Usage: tpactl {' '.join(path)}".rstrip())
    _, _, example = outcome.out.partition("\nExample\n")
    assert example.strip().startswith(f"tpactl {' '.join(path)}".rstrip())


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_the_examples_options_exist(path):
    for line in examples(path):
        words = shlex.split(line)[1:]
        target = path
        if not target or len(words) > len(target):
            longer = tuple(words[: len(target) + 1])
            target = longer if longer in ALL else target
        known = {name for option in ALL[target].params for name in option.opts}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= known | {"--help"}


@pytest.mark.parametrize("width", [40, 50, 80, 200])
@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_help_fits_the_terminal(tpactl, monkeypatch, path, width):
    monkeypatch.setattr(help_page.out, "_width", width)
    prose, _, _ = tpactl(*path, "--help").out.partition("\nExample\n")
    longest = max(prose.splitlines(), key=len)
    assert len(longest) <= min(width, help_page.WIDEST), longest


def test_help_has_no_colour_where_it_is_not_wanted(tpactl):
    assert "\x1b" not in tpactl("--help").out


def test_listing_every_command_imports_nothing_heavy():
    script = (
        "import sys; from tpactl.cli.app import run; run(['--help'])\n"
        "for name in sys.argv[1:]: run([*name.split(), '--help'])\n"
        "print('modules:', *sorted(name.partition('.')[0] for name in sys.modules))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, *NAMES[1:]], capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.rpartition("modules: ")[2].split())
    assert "rich" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_help_takes_less_than_half_a_second():
    def once(path):
        process = subprocess.Popen(
            [sys.executable, "-m", "tpactl", *path, "--help"], stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        # Processor time: nothing here waits, and a busy machine does not make the test fail.
        return used.ru_utime + used.ru_stime

    slow = {path: seconds for path in ALL if (seconds := once(path)) > 0.5}
    assert slow == {}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("tpactl ", list(COMMANDS)),
        ("tpactl pre", ["prepare"]),
        ("tpactl base ", ["show", "fingerprint"]),
        ("tpactl init --j", ["--json"]),
    ],
)
def test_the_shell_completes_commands_and_options(words, offered):
    process = subprocess.run(
        [sys.executable, "-m", "tpactl"],
        env={
            **os.environ,
            "_TPACTL_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stdout.split() == offered
