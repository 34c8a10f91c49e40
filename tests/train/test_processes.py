"""Two real processes train what one does, and speak with one voice."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.train.conftest import FAST, quick
from tests.train.places import all_of
from tpactl.formats.run import Run
from tpactl.train.train import train

SETTINGS = (
    *FAST,
    "adapter.bottleneck_dim=16",
    # Each process draws its own.
    "adapter.dropout=0",
    "training.spec_augment=true",
    "training.speed_perturbation=true",
    "training.max_steps=12",
    "training.batch_s=15",
    "training.evaluations=3",
)
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": ["accelerate.commands.launch", "--cpu", "--num_processes", "2",
                   "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                   "--main_process_port", "0"],
}  # fmt: skip


def launched(launcher, *arguments, limit_kib=None):
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "tpactl", "train",
               *map(str, arguments)]  # fmt: skip
    if limit_kib is not None:
        command = ["bash", "-c", f'ulimit -f {limit_kib}; exec "$@"', "bash", *command]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "TERM": "dumb"}
    )


def flags(*settings):
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Settings with noise, rooms and the telephone."""
    return all_of(tmp_path_factory.mktemp("places"))


@pytest.fixture(scope="module")
def alone(taught, accent, places, tmp_path_factory):
    """The run that one process makes."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(accent, quick(taught, *SETTINGS, *places), out)
    return out


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_give_the_result_of_one(launcher, alone, places, taught, accent, tmp_path):
    out = tmp_path / "run"
    done = launched(
        launcher, "--data", accent, "--base", taught, "--out", out, "--json",
        *flags(*SETTINGS, *places),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 12
    first, second = (
        load_file(run / "adapter" / "adapter_model.safetensors") for run in (alone, out)
    )
    assert len(first) == len(second) == 26
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=2e-4), name
    figures = [
        [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
        for run in (alone, out)
    ]
    assert [e["kind"] for e in figures[0]] == [e["kind"] for e in figures[1]]
    for one, two in zip(*figures, strict=True):
        for key in ("loss", "gradient_norm", "dev_wer", "dev_cer", "audio_s"):
            assert (key in one) == (key in two)
            assert one.get(key, 0) == pytest.approx(two.get(key, 0), rel=1e-3), (one, two)
    assert Run(alone).record.best_step == Run(out).record.best_step
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_an_error_of_one_process_ends_both_with_one_message(taught, accent, tmp_path):
    # Only the first process writes, so only it meets the limit on the size of files.
    done = launched(
        "torchrun", "--data", accent, "--base", taught, "--out", tmp_path / "run",
        *flags(*SETTINGS), "--json", limit_kib=8,
    )  # fmt: skip
    assert done.returncode != 0
    said = json.loads(done.stdout)
    assert said["exit_code"] == 6
    assert "cannot be written: File too large" in said["error"]
    assert "Traceback" not in done.stderr.split("torch/distributed/elastic")[0]
    assert list(tmp_path.iterdir()) == []


def test_a_fault_that_all_processes_find_is_told_once(tmp_path):
    done = launched("torchrun", "--out", tmp_path / "run", "--set", "training.sed=1")
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error:", "fix:"))]
    assert len(lines) == 2
    assert "training.seed" in lines[0]
