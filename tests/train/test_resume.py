"""A training killed at any step and resumed is the training that was never killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.train.conftest import FAST, quick
from tests.train.places import all_of
from tpactl.errors import InputError, IntegrityError, UsageError
from tpactl.formats import checkpoint
from tpactl.formats.run import Run
from tpactl.train.folder import run_folder
from tpactl.train.train import train

RANDOM = (
    "training.spec_augment=true",
    "training.speed_perturbation=true",
    "training.checkpoint_minutes=0.003",
    "training.evaluations=6",
    "training.batch_s=10",
)
METHODS = {
    "tpa": ("adapter.dropout=0.1", "training.max_epochs=8"),
    "bitfit": ("method=bitfit", "training.max_epochs=7"),
    "full": ("method=full", "training.dropout=true", "training.max_epochs=7"),
}

SHORT = ("training.max_epochs=8", "training.evaluations=8")


def weights(run: Path) -> dict[str, bytes]:
    files = sorted(run.glob("*/*.safetensors"))
    assert len(files) == 1
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(files[0]).items()}


def steps_of(run: Path) -> list[dict]:
    """The events of ``run`` but for notes and the clock; a line cut off is left out."""
    lines = (run / "events.jsonl").read_text().split("\n")[:-1]
    events = [json.loads(line) for line in lines]
    return [
        {key: value for key, value in event.items() if key != "time_s"}
        for event in events
        if event["kind"] != "note"
    ]


def steps_done(run: Path) -> int:
    try:
        return (run / "events.jsonl").read_bytes().count(b'"kind": "step"')
    except FileNotFoundError:
        return 0


def killed_at(step: int, run: Path, begin) -> None:
    """Train in a process of its own, and kill it once it has made ``step`` steps.

    It may make two more, so that it is killed anywhere within one, and waits for its end then.
    """
    never = threading.Event()

    def wait(event, plan):
        if event.kind == "end" or event.step > step + 2:
            never.wait()

    child = os.fork()
    if child == 0:
        try:
            begin(wait)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while steps_done(run) < step:
        assert time.monotonic() < deadline
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it was killed"
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("method", METHODS)
def test_killed_at_random_steps_it_ends_with_the_same_weights_bit_for_bit(
    method, taught, accent, tmp_path
):
    places = all_of(tmp_path / "places") if method == "tpa" else ()
    config = quick(taught, *RANDOM, *METHODS[method], *places)
    whole = train(accent, config, tmp_path / "whole")
    last = whole.cost.steps
    assert last > 25
    kills = sorted(random.sample(range(1, last - 5), 2))
    out = tmp_path / "killed"
    for step in kills:
        killed_at(
            step,
            tmp_path / "killed.unfinished",
            lambda wait: train(accent, config, out, resume=True, on_event=wait),
        )
        assert not out.exists()
    record = train(accent, config, out, resume=True)
    assert weights(out) == weights(tmp_path / "whole"), f"killed at {kills}"
    assert steps_of(out) == steps_of(tmp_path / "whole"), f"killed at {kills}"
    assert [e["step"] for e in steps_of(out) if e["kind"] == "step"] == list(range(1, last + 1))
    assert (record.best_step, record.best_dev_wer) == (whole.best_step, whole.best_dev_wer)
    assert record.cost.audio_hours_seen == whole.cost.audio_hours_seen
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in (tmp_path / "whole").iterdir()
    )


def test_a_training_that_ran_out_of_patience_ends_at_the_same_step_after_a_kill(
    taught, accent, tmp_path
):
    still = ("training.learning_rate=1e-12", "training.head_learning_rate=1e-12")
    config = quick(taught, *still, "training.evaluations=20", "training.patience=4")
    whole = train(accent, config, tmp_path / "whole")
    assert whole.stopped_by == "patience"
    out = tmp_path / "killed"
    step = random.randrange(1, whole.cost.steps)
    killed_at(
        step,
        tmp_path / "killed.unfinished",
        lambda wait: train(accent, config, out, on_event=wait),
    )
    assert train(accent, config, out, resume=True).cost.steps == whole.cost.steps
    assert weights(out) == weights(tmp_path / "whole")


def test_the_command_goes_on_after_kill_9(taught, accent, tmp_path, tpactl):
    flags = [part for o in (*FAST, *RANDOM, *METHODS["tpa"]) for part in ("--set", o)]
    command = ["train", "--data", accent, "--base", taught, *flags]
    assert tpactl(*command, "--out", tmp_path / "whole").exit_code == 0
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "tpactl", *map(str, command), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 60
        while not checkpoint.folders(tmp_path / "killed.unfinished"):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    with pytest.raises(InputError, match="its training is unfinished"):
        Run(out)
    refused = tpactl(*command, "--out", out)
    assert refused.exit_code == 3
    assert "holds an unfinished training, saved at step" in refused.err
    assert "--resume" in refused.err
    # Nothing but --out is needed: the settings are those it began with.
    done = tpactl("train", "--out", out, "--resume", "--json")
    assert done.exit_code == 0, done.err
    assert weights(out) == weights(tmp_path / "whole")
    again = tpactl("train", "--out", out, "--resume")
    assert again.exit_code == 3
    assert "is a finished run: there is nothing to resume" in again.err


@pytest.fixture
def unfinished(taught, accent, tmp_path):
    """The place of a training that was killed after its first checkpoint."""
    out = tmp_path / "run"
    config = quick(taught, *SHORT)

    def stop(event, plan):
        if event.kind == "step" and event.step == 7:
            os._exit(9)

    child = os.fork()
    if child == 0:
        train(accent, config, out, on_event=stop)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [path.name for path in checkpoint.folders(tmp_path / "run.unfinished")] == [
        "step-00000004",
        "step-00000006",
    ]
    return out


def test_other_data_base_or_settings_are_refused_each_named_old_and_new(
    unfinished, taught, accent, tones, tmp_path
):
    other = quick(tones.parent / "base", *SHORT, "training.seed=3", "adapter.scale=2")
    shutil.copytree(taught, tones.parent / "base", dirs_exist_ok=True)
    weights_file = tones.parent / "base" / "model.safetensors"
    content = bytearray(weights_file.read_bytes())
    content[-1] ^= 1
    weights_file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        train(tones, other, unfinished, resume=True)
    said = "\n".join([caught.value.problem, *caught.value.details])
    assert "adapter.scale: 1.0 when it began, 2.0 now" in said
    assert "training.seed: 0 when it began, 3 now" in said
    assert f"({accent}) when it began" in said
    assert f"({tones}) now" in said
    assert f"({taught}) when it began" in said
    assert len(caught.value.details) == 3
    assert checkpoint.folders(tmp_path / "run.unfinished")


def test_settings_that_change_no_weight_may_differ(unfinished, taught, accent):
    config = quick(
        taught, *SHORT, "training.activation_checkpointing=true",
        "training.keep_checkpoints=1", "training.features_mb=0",
    )  # fmt: skip
    assert train(accent, config, unfinished, resume=True).stopped_by == "epochs"


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(
    unfinished, taught, accent, tmp_path
):
    config = quick(taught, *SHORT)
    newest = checkpoint.folders(tmp_path / "run.unfinished")[-1]
    part = newest / "optimizer.safetensors"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"optimizer.safetensors is damaged") as caught:
        train(accent, config, unfinished, resume=True)
    assert str(newest) in caught.value.fix
    shutil.rmtree(newest)
    train(accent, config, unfinished, resume=True)
    train(accent, config, tmp_path / "whole")
    assert weights(unfinished) == weights(tmp_path / "whole")


def test_an_unfinished_training_is_thrown_away_only_by_force(unfinished, taught, accent, tmp_path):
    config = quick(taught, "training.max_steps=2")
    with pytest.raises(InputError, match="holds an unfinished training, saved at step 6") as caught:
        train(accent, config, unfinished)
    assert "--resume" in caught.value.fix
    train(accent, config, unfinished, force=True)
    assert not (tmp_path / "run.unfinished").exists()
    assert Run(unfinished).record.cost.steps == 2


def test_two_trainings_for_one_place_do_not_meet(taught, accent, tmp_path):
    config = quick(taught, "training.max_steps=3")

    def second(event, plan):
        if event.step == 1 and event.kind == "step":
            with (
                pytest.raises(InputError, match="another process is training for"),
                run_folder(tmp_path / "run", force=True, resume=False),
            ):
                pass

    assert train(accent, config, tmp_path / "run", on_event=second).cost.steps == 3


def test_resume_where_nothing_began_starts(taught, accent, tmp_path):
    config = quick(taught, "training.max_steps=2")
    assert train(accent, config, tmp_path / "run", resume=True).cost.steps == 2


def test_ctrl_c_after_a_checkpoint_keeps_it_and_says_so(unfinished, taught, accent, tmp_path):
    config = quick(taught, *SHORT)
    notes = []

    def interrupt(event, plan):
        notes.append(event.message)
        if event.kind == "step" and event.step == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(accent, config, unfinished, resume=True, on_event=interrupt)
    assert notes[-1] == "step 10 is saved; --resume goes on from there"
    assert not unfinished.exists()
    train(accent, config, unfinished, resume=True)
    train(accent, config, tmp_path / "whole")
    assert weights(unfinished) == weights(tmp_path / "whole")
