"""Whatever stops a training, the error names the fix and the last good checkpoint stays."""

from __future__ import annotations

import resource
import shutil

import pytest
import torch

from tests.train.conftest import quick
from tpactl.errors import InputError, MachineError
from tpactl.formats import checkpoint
from tpactl.formats.run import Run
from tpactl.train import loss as losses
from tpactl.train.train import train

SHORT = ("training.max_epochs=8", "training.evaluations=8")


def saved(tmp_path):
    return [folder.name for folder in checkpoint.folders(tmp_path / "run.unfinished")]


def at_step(step, action):
    def listen(event, plan):
        if event.kind == "step" and event.step == step:
            action()

    return listen


@pytest.fixture
def data(accent, tmp_path_factory):
    """A copy of the department that a test may damage."""
    return shutil.copytree(accent, tmp_path_factory.mktemp("copy") / "data")


def test_audio_that_cannot_be_read_any_more(taught, data, tmp_path):
    config = quick(taught, *SHORT, "training.features_mb=0")
    wrong = data / "audio" / "train-3.flac"
    content = wrong.read_bytes()
    with pytest.raises(InputError, match=r"train-3\.flac") as caught:
        train(
            data, config, tmp_path / "run",
            on_event=at_step(5, lambda: wrong.write_bytes(content[:100])),
        )  # fmt: skip
    step = int(saved(tmp_path)[-1].removeprefix("step-"))
    assert step >= 4
    assert caught.value.fix.endswith(f"; with --resume it goes on from step {step}")
    wrong.write_bytes(content)
    assert train(data, config, tmp_path / "run", resume=True).stopped_by == "epochs"


def test_a_full_disk(taught, accent, tmp_path):
    """The limit on the size of a file is the disk's real refusal, at any user's reach."""
    config = quick(taught, *SHORT)
    size = 0

    def fill():
        nonlocal size
        size = (tmp_path / "run.unfinished" / "events.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(MachineError, match="cannot be written: File too large") as caught:
            train(accent, config, tmp_path / "run", on_event=at_step(5, fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "free disk space" in caught.value.fix
    assert caught.value.fix.endswith("; with --resume it goes on from step 4")
    train(accent, config, tmp_path / "run", resume=True)
    train(accent, config, tmp_path / "whole")
    adapters = [
        (tmp_path / run / "adapter" / "adapter_model.safetensors").read_bytes()
        for run in ("run", "whole")
    ]
    assert adapters[0] == adapters[1]


def test_a_checkpoint_that_the_disk_refuses_leaves_the_one_before(
    taught, accent, tmp_path, monkeypatch
):
    from tpactl.train import checkpoint as checkpoints

    writes = 0

    def full(path, content):
        nonlocal writes
        writes += 1
        if writes == 4 + 2:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, before[1]))
            try:
                write(path, content)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        else:
            write(path, content)

    write = checkpoints.write_bytes
    monkeypatch.setattr(checkpoints, "write_bytes", full)
    with pytest.raises(MachineError, match=r"best\.safetensors: cannot be written"):
        train(accent, quick(taught, *SHORT), tmp_path / "run")
    folder = tmp_path / "run.unfinished" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["step-00000002"]


def test_memory_that_runs_out_proposes_parts_that_fit(taught, accent, tmp_path, monkeypatch):
    config = quick(taught, *SHORT)
    calls = 0

    def greedy(*arguments):
        nonlocal calls
        calls += 1
        if calls == 4:
            torch.empty(2**60)  # the allocator's own refusal
        return loss(*arguments)

    loss = losses.ctc_loss
    monkeypatch.setattr(losses, "ctc_loss", greedy)
    with pytest.raises(MachineError) as caught:
        train(accent, config, tmp_path / "run")
    assert caught.value.problem.startswith("cpu ran out of memory in a pass of ")
    assert "add --set training.accumulate=2" in caught.value.fix
    assert caught.value.fix.endswith("; with --resume it goes on from step 2")
    smaller = quick(taught, *SHORT, "training.accumulate=2")
    assert train(accent, smaller, tmp_path / "run", resume=True).stopped_by == "epochs"


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e6])
def test_a_loss_that_explodes_before_anything_was_won(
    factor, taught, accent, tmp_path, monkeypatch
):
    calls = 0

    def poisoned(*arguments):
        nonlocal calls
        calls += 1
        return loss(*arguments) * (factor if calls > 5 else 1.0)

    loss = losses.ctc_loss
    monkeypatch.setattr(losses, "ctc_loss", poisoned)
    still = ("training.learning_rate=1e-12", "training.head_learning_rate=1e-12")
    with pytest.raises(InputError) as caught:
        train(accent, quick(taught, *SHORT, *still), tmp_path / "run")
    said = "exploded at step 6: from" if factor == 1e6 else "became NaN or infinite at step 6"
    assert said in caught.value.problem
    assert caught.value.fix == "train again with --set training.learning_rate=2.5e-13 --force"
    assert saved(tmp_path) == ["step-00000002", "step-00000004"]
    monkeypatch.setattr(losses, "ctc_loss", loss)
    train(accent, quick(taught, *SHORT), tmp_path / "run", force=True)
    assert Run(tmp_path / "run").record.stopped_by == "epochs"


def test_torch_names_what_is_out_of_memory():
    from tpactl.train.memory import is_out_of_memory

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
