"""What every test stands on: no network, one thread, a fixed width, the command line in-process."""

from __future__ import annotations

import os

# Before anything imports torch or rich.
os.environ.update(COLUMNS="80", HF_HUB_OFFLINE="1", NO_COLOR="1", OMP_NUM_THREADS="1", TERM="dumb")

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout; fails where anything else is there."""
        import json

        return json.loads(self.out)


@pytest.fixture
def tpactl(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process: ``tpactl("init", folder)``."""
    from tpactl.cli.app import run

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def speech_dir() -> Path:
    """The folder of real recordings; tests that need it are skipped where there is none."""
    given = os.environ.get("TPACTL_SPEECH_DIR")
    if not given or not Path(given).is_dir():
        pytest.skip("TPACTL_SPEECH_DIR names no folder")
    return Path(given)
