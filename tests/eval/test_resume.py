"""An evaluation that was killed goes on, and ends as if nothing had happened."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.eval.builders import write_data
from tpactl.errors import InputError, MachineError, UsageError
from tpactl.eval import hear as hear_file
from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.systems import system_of_run
from tpactl.formats.files import to_builtins
from tpactl.formats.run import unfinished

TIMES = {"seconds", "real_time_factor", "inference_memory_bytes", "costs"}
PLAN = Plan(normaliser="none", slice_by=("snr",))


def said(report) -> dict:
    """What a report says, without how long it took."""
    plain = to_builtins(report)
    for system in plain["systems"]:
        for key in TIMES & set(system):
            del system[key]
    return {key: value for key, value in plain.items() if key not in TIMES}


@pytest.fixture(scope="module")
def many(room, tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("many") / "data", ["a b c"] * 40)


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of a second or two, so that there is something to stop between."""
    plain = hear_file._plan

    def plan(turns, condition):
        return [
            batch[n : n + 3] for batch in plain(turns, condition) for n in range(0, len(batch), 3)
        ]

    monkeypatch.setattr(hear_file, "_plan", plan)


def stop_after(count: int):
    def stop(stage, done, total):
        if done >= count:
            raise KeyboardInterrupt

    return stop


def systems(room):
    return [system_of_run(room.tpa, "tpa"), system_of_run(room.full, "full")]


@pytest.mark.parametrize("stop", [5, 38, 61])
def test_it_goes_on_where_it_was_stopped(room, many, tmp_path, small_batches, stop):
    whole = compare(many, "test", str(room.base), systems(room), plan=PLAN)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare(many, "test", str(room.base), systems(room), out, plan=PLAN,
                on_progress=stop_after(stop))  # fmt: skip
    assert not out.exists()
    seen = []
    resumed = compare(
        many, "test", str(room.base), systems(room), out, plan=PLAN, resume=True,
        on_progress=lambda stage, done, total: seen.append((done, total)),
    )  # fmt: skip
    assert said(resumed) == said(whole)
    assert seen[-1] == (80, 80)
    assert not unfinished(out).exists()
    assert (out / "report.json").is_file()


def test_a_line_cut_off_by_the_kill_is_heard_again(room, many, tmp_path, small_batches):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare(many, "test", str(room.base), out=out, plan=PLAN, on_progress=stop_after(9))
    heard = unfinished(out) / "heard.jsonl"
    lines = heard.read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    heard.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    resumed = compare(many, "test", str(room.base), out=out, plan=PLAN, resume=True)
    assert said(resumed) == said(compare(many, "test", str(room.base), plan=PLAN))


def test_another_evaluation_is_not_continued(room, many, tmp_path, small_batches):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare(many, "test", str(room.base), out=out, plan=PLAN, on_progress=stop_after(9))
    with pytest.raises(InputError, match="systems differ") as caught:
        compare(many, "test", str(room.base), systems(room), out, plan=PLAN, resume=True)
    assert "systems: was {}" in caught.value.details[0]
    # Without --resume it begins anew.
    report = compare(many, "test", str(room.base), systems(room)[:1], out, plan=PLAN)
    assert len(report.systems) == 2


def test_other_rules_continue_what_was_heard(room, many, tmp_path, small_batches):
    # What is heard does not depend on how it is scored.
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare(many, "test", str(room.base), out=out, plan=PLAN, on_progress=stop_after(9))
    other = Plan(normaliser="whisper-basic", slice_by=("snr",))
    report = compare(many, "test", str(room.base), out=out, plan=other, resume=True)
    assert report.normaliser.name == "whisper-basic"


def test_nothing_to_resume_is_an_ordinary_evaluation(room, tmp_path):
    out = tmp_path / "out"
    compare(room.data, "test", str(room.base), out=out, resume=True)
    assert (out / "report.json").is_file()
    with pytest.raises(UsageError, match="report's place"):
        compare(room.data, "test", str(room.base), resume=True)


def test_an_unfinished_training_of_the_same_name_is_left_alone(room, tmp_path):
    kept = unfinished(tmp_path / "out") / "training.json"
    kept.parent.mkdir()
    kept.write_text("{}")
    with pytest.raises(InputError, match="is in the way"):
        compare(room.data, "test", str(room.base), out=tmp_path / "out")
    assert kept.read_text() == "{}"


def test_a_disk_that_was_full_from_the_start_keeps_nothing(room, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(MachineError, match="cannot be written"):
            compare(room.data, "test", str(room.base), out=tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_process_leaves_no_report_and_is_continued(room, tmp_path, by):
    data = write_data(tmp_path / "data", ["a b c"] * 20)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tpactl", "eval", "--data", data, "--base", room.base,
               "--single", "0", "--stress", "--out", out]  # fmt: skip
    quiet = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    stopped = subprocess.Popen(
        list(map(str, command)), env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    heard = unfinished(out) / "heard.jsonl"
    until = time.monotonic() + 60
    while not (heard.is_file() and heard.read_bytes().count(b"\n") >= 2):
        assert stopped.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    stopped.send_signal(by)
    _, told = stopped.communicate(timeout=60)
    assert (b"batches are kept; --resume goes on from there" in told) == (by == signal.SIGINT)
    assert not out.exists()
    lines = heard.read_bytes().count(b"\n")
    done = subprocess.run(
        [*map(str, command), "--resume"], env=quiet, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert lines >= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
