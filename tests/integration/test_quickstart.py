"""``tpactl quickstart`` as a user runs it: the starter base, the shipped example, twice."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tpactl.shipped import starter_base

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (starter_base() / "model.safetensors").is_file(), reason="no starter base here"
    ),
]

KEYS = [
    "schema_version",
    "base_wer",
    "adapter_wer",
    "full_wer",
    "adapter_params",
    "full_params",
    "package_path",
    "package_bytes",
    "verified",
    "elapsed_s",
]


def quickstart(folder: Path) -> dict[str, Any]:
    """Return the printed object, and under ``cpu_s`` what the process used."""
    # As many threads as a user has: conftest's single one would double the time.
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    before = cpu_seconds_of_children()
    done = subprocess.run(
        [sys.executable, "-m", "tpactl", "quickstart", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1500,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return {**json.loads(done.stdout), "cpu_s": cpu_seconds_of_children() - before}


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """First run, run again, run again after the package was damaged."""
    folder = tmp_path_factory.mktemp("quickstart")
    outcomes = [quickstart(folder), quickstart(folder)]
    package = Path(outcomes[0]["package_path"])
    content = package.read_bytes()
    package.write_bytes(content[: len(content) // 2] + b"x" + content[len(content) // 2 + 1 :])
    outcomes.append(quickstart(folder))
    assert package.read_bytes() == content
    return outcomes


def test_prints_the_promised_keys(runs: list[dict[str, Any]]) -> None:
    for outcome in runs:
        assert list(outcome) == [*KEYS, "cpu_s"]
        assert outcome["verified"] is True
        path = Path(outcome["package_path"])
        assert path.is_absolute()
        assert path.stat().st_size == outcome["package_bytes"]


def test_adaptation_is_clearly_told_from_the_base(runs: list[dict[str, Any]]) -> None:
    first = runs[0]
    assert first["adapter_wer"] < 0.7 * first["base_wer"]
    assert first["full_wer"] < 0.7 * first["base_wer"]
    assert first["adapter_params"] < 0.08 * first["full_params"]


def test_a_second_run_reuses_what_is_valid_and_measures_the_same(
    runs: list[dict[str, Any]],
) -> None:
    for again in runs[1:]:
        for key in ("base_wer", "adapter_wer", "full_wer", "package_bytes"):
            assert again[key] == runs[0][key], key
        assert again["cpu_s"] < runs[0]["cpu_s"] / 3


def test_fits_three_minutes_on_two_cores(runs: list[dict[str, Any]]) -> None:
    # Processor time, not the clock's: whatever else runs beside the tests does not count.
    assert runs[0]["cpu_s"] < 2 * 180 * 0.9


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tpactl", "quickstart", "--workdir", "work"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and so their children, are started deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    work = tmp_path / "work"
    deadline = time.monotonic() + 120
    while not list(work.glob("runs/*.unfinished")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"
    left = sorted(path.relative_to(work).as_posix() for path in work.glob("*"))
    assert left == [".quickstart.lock", "data", "quickstart.json", "runs"]
    assert list((work / "runs").iterdir()) == []
