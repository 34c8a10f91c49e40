"""Trainings side by side: real processes, what comes of them, and what is left when they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from tests.integration.department import department
from tests.models import tiny_base
from tpactl.errors import BaseError, MachineError
from tpactl.flows.trainings import Training, train_all
from tpactl.formats.run import RunConfig, TrainingSettings
from tpactl.prepare.prepare import prepare


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Return a data set and a base."""
    folder = tmp_path_factory.mktemp("inputs")
    prepare(department(folder / "audio", utterances=1), folder / "data")
    return folder / "data", tiny_base(folder / "base")


@pytest.fixture(params=[1, 2], ids=["in turn", "side by side"])
def cores(request, monkeypatch):
    monkeypatch.setattr("tpactl.train.cost.available_cores", lambda: request.param)
    return request.param


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr("tpactl.train.cost.available_cores", lambda: 2)


ENDLESS_STEPS = 20_000  # minutes, which no test waits for; more take seconds to plan


def trainings(inputs, out, max_steps=3, **changes):
    data, base = inputs
    # Without max_epochs the default for so little data, 20 steps, ends a training before max_steps.
    settings = TrainingSettings(
        max_steps=max_steps, max_epochs=1e6, evaluations=1, learning_rate=1e-4
    )
    return {
        method: Training(
            data,
            RunConfig(method=method, training=settings, **{"base": str(base), **changes}),
            out / method,
        )
        for method in ("tpa", "full")
    }


class Listener:
    """Remembers what it is told, and how many processes there were at a step."""

    def __init__(self):
        self.told = []
        self.processes = set()

    def arguments(self, **changes):
        def on_event(name, event, plan):
            assert plan.total_steps == 3
            self.told.append((event.kind, name))
            if event.kind == "step":
                self.processes.add(len(multiprocessing.active_children()))

        return {
            "on_begin": lambda name: self.told.append(("begin", name)),
            "on_event": on_event,
            "on_done": lambda name: self.told.append(("done", name)),
            **changes,
        }


def nothing_is_left(out):
    return not multiprocessing.active_children() and not list(out.glob("*"))


def test_each_is_told_of_from_its_begin_to_its_run(inputs, tmp_path, cores):
    listener = Listener()
    train_all(trainings(inputs, tmp_path), **listener.arguments())
    for name in ("tpa", "full"):
        kinds = [kind for kind, of in listener.told if of == name]
        assert kinds.count("step") == 3
        assert (kinds[0], kinds[-1]) == ("begin", "done")
        assert (tmp_path / name / "run.json").is_file()
    assert max(listener.processes) == (2 if cores == 2 else 0)
    assert not multiprocessing.active_children()


def test_the_result_does_not_depend_on_what_runs_beside_it(inputs, tmp_path, monkeypatch):
    weights = []
    for cores in (1, 2):
        monkeypatch.setattr("tpactl.train.cost.available_cores", lambda cores=cores: cores)
        train_all(trainings(inputs, tmp_path / str(cores)), **Listener().arguments())
        files = sorted((tmp_path / str(cores)).rglob("*.safetensors"))
        weights.append([file.read_bytes() for file in files])
    assert len(weights[0]) == 2
    assert weights[0] == weights[1]


def test_an_error_arrives_as_it_was_raised_and_ends_the_other(inputs, tmp_path, two_cores):
    both = trainings(inputs, tmp_path, max_steps=ENDLESS_STEPS)
    both["full"] = trainings(inputs, tmp_path, base=str(tmp_path / "none"))["full"]
    with pytest.raises(BaseError) as caught:
        train_all(both, **Listener().arguments(on_event=lambda *_: None))
    assert str(tmp_path / "none") in caught.value.problem
    assert caught.value.fix
    assert nothing_is_left(tmp_path)


def test_a_killed_process_is_told_by_its_signal_and_ends_the_other(inputs, tmp_path, two_cores):
    def kill(name, *_):
        victim = next(child for child in multiprocessing.active_children() if child.name == name)
        victim.kill()

    both = trainings(inputs, tmp_path, max_steps=ENDLESS_STEPS)
    with pytest.raises(MachineError, match=r"the process of (tpa|full) was killed by signal 9"):
        train_all(both, **Listener().arguments(on_event=kill))
    assert nothing_is_left(tmp_path)


ENDLESS = """
import sys
from pathlib import Path
import tpactl.train.cost
from tests.flows.test_trainings import ENDLESS_STEPS, trainings
from tpactl.flows.trainings import train_all

tpactl.train.cost.available_cores = lambda: 2
started = set()

def on_event(name, event, plan):
    if event.kind == "step" and name not in started:
        started.add(name)
        print(name, flush=True)

data, base, out = map(Path, sys.argv[1:])
try:
    train_all(trainings((data, base), out, max_steps=ENDLESS_STEPS),
              on_begin=lambda name: None, on_event=on_event, on_done=print)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def endless(inputs, tmp_path):
    """Return a process that leads a group and trains both without end, both begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, *map(str, inputs), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs, and so their children, are started deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert {process.stdout.readline().strip() for _ in range(2)} == {"tpa", "full"}
    yield process
    process.kill()


def test_ctrl_c_in_a_terminal_ends_every_process_without_a_word(endless, tmp_path):
    os.killpg(endless.pid, signal.SIGINT)  # a terminal sends it to all of them
    # Both pipes are at their end only when no process holds them any more.
    assert endless.communicate(timeout=60) == ("", "")
    assert endless.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_a_killed_parent_leaves_no_process(endless):
    endless.kill()
    assert endless.communicate(timeout=60) == ("", "")
