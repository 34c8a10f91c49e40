"""Trains several runs at a time, each in a process of its own where there are cores for it.

On a small base a second thread wins a training little: two trainings of one thread each end much
sooner side by side than in turn with two threads. One thread is what each has either way, so what
comes of a training does not depend on whether another ran beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tpactl.errors import MachineError, TpactlError
from tpactl.formats.run import Event, RunConfig, unfinished

if TYPE_CHECKING:
    from tpactl.train.events import Plan


@dataclass(frozen=True)
class Training:
    """One run to train; the fields are the arguments of ``train.train.train``."""

    data: Path
    config: RunConfig
    out: Path


OnEvent = Callable[[str, Event, "Plan"], None]
"""Told of an event of the training of that name."""


OnTraining = Callable[[str], None]
"""Told of the training of that name."""


def train_all(
    trainings: Mapping[str, Training],
    *,
    on_begin: OnTraining,
    on_event: OnEvent,
    on_done: OnTraining,
) -> None:
    """Train every run, all at once where each can have a core; otherwise in turn, here.

    After an error or an interrupt no process is left, and nothing of the runs that were not done.

    Args:
        trainings: by names of the caller's choice.
        on_begin: told of each training when it begins; all three are called in this process.
        on_event: told of its events.
        on_done: told when its run is whole.

    Raises:
        MachineError: a process was killed.
        TpactlError: as ``train`` raises it; the first one ends the other trainings.
    """
    from tpactl.train.cost import available_cores

    try:
        if 1 < len(trainings) <= available_cores():
            _side_by_side(trainings, on_begin, on_event, on_done)
        else:
            for name, training in trainings.items():
                on_begin(name)
                _train(training, partial(on_event, name))
                on_done(name)
    finally:
        # Minutes of training: begun anew sooner than continued.
        for training in trainings.values():
            shutil.rmtree(unfinished(training.out), ignore_errors=True)


def _train(training: Training, on_event: Callable[[Event, Plan], None]) -> None:
    import torch

    from tpactl.train.train import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(training.data, training.config, training.out, force=True, on_event=on_event)
    finally:
        torch.set_num_threads(threads)


def _side_by_side(
    trainings: Mapping[str, Training],
    on_begin: OnTraining,
    on_event: OnEvent,
    on_done: OnTraining,
) -> None:
    # A forked child would have torch's locks without the threads that hold them.
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, SpawnProcess] = {}
    try:
        for name, training in trainings.items():
            on_begin(name)
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(
                target=_train_for_parent, args=(training, sender), name=name, daemon=True
            )
            with _deaf_to_ctrl_c():
                process.start()
                running[receiver] = process
            sender.close()  # so that the child's is the last, and its end is seen here
        while running:
            for receiver in cast("list[Connection]", wait(list(running))):
                process = running[receiver]
                try:
                    message = receiver.recv()
                except (EOFError, OSError) as error:
                    process.join()
                    raise _killed(process) from error
                if isinstance(message, Exception):
                    raise message
                if message is not None:
                    on_event(process.name, *message)
                    continue
                process.join()
                del running[receiver]
                on_done(process.name)
    finally:
        for process in running.values():
            process.kill()
        for process in running.values():
            process.join()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start processes that do not hear a terminal's Ctrl-C: the parent does, and ends them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _train_for_parent(training: Training, parent: Connection) -> None:
    """Train in a child: send (event, plan) pairs, then ``None`` or the error that ended it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _train(training, lambda event, plan: parent.send((event, plan)))
        parent.send(None)
    except Exception as error:
        if not isinstance(error, TpactlError):
            error.add_note(traceback.format_exc())  # a bug's place, which pickling drops
        parent.send(error)


def _end_with_parent() -> None:
    """End this process when its parent does, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _killed(process: SpawnProcess) -> MachineError:
    code = process.exitcode or 0
    how = f"killed by signal {-code}" if code < 0 else f"gone with exit code {code}"
    return MachineError(
        f"the process of {process.name} was {how}",
        "free memory, which is why systems kill processes, and run the command again",
    )
