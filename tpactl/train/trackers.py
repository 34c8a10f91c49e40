"""Tells TensorBoard or MLflow every figure, beside ``events.jsonl``.

TensorBoard's files go to ``RUN/tensorboard``. MLflow goes where it is configured to
(``MLFLOW_TRACKING_URI``), under the experiment ``tpactl``; its run's id is kept in the run folder,
so that a resumed training continues it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from tpactl.errors import MachineError
from tpactl.formats.files import write_bytes
from tpactl.formats.run import Event, dotted
from tpactl.train.events import Plan

EXPERIMENT = "tpactl"

_FIGURES = ("loss", "learning_rate", "gradient_norm", "dev_wer", "dev_cer")

_MLFLOW_RUN = "mlflow-run-id"


class Tracker(Protocol):
    """One place that is told how a training goes."""

    def on_event(self, event: Event, plan: Plan) -> None:
        """Record an event."""

    def close(self, *, finished: bool) -> None:
        """Record how it ended."""


def check_installed(names: Sequence[str]) -> None:
    """Refuse, before any work, a place whose package is missing.

    Raises:
        MachineError: it is not installed.
    """
    for name in names:
        _require(name)


def open_tracker(name: str, folder: Path, run_name: str, *, resumed_at: int | None) -> Tracker:
    """Return the tracker ``name``.

    Args:
        name: ``tensorboard`` or ``mlflow``.
        folder: the unfinished run folder.
        run_name: how the run will be called.
        resumed_at: the step it goes on from, ``None`` at its beginning.

    Raises:
        MachineError: its package is not installed.
    """
    if name == "tensorboard":
        return TensorBoard(folder / "tensorboard", resumed_at)
    return MLflow(folder, run_name, is_resumed=resumed_at is not None)


class TensorBoard:
    """Writes event files into a folder.

    Args:
        folder: for ``tensorboard --logdir``.
        resumed_at: figures of later steps, made before a kill, are hidden.
    """

    def __init__(self, folder: Path, resumed_at: int | None) -> None:
        _require("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resumed_at is None else resumed_at + 1
        self._writer = SummaryWriter(str(folder), purge_step=purge)

    def on_event(self, event: Event, plan: Plan) -> None:
        """Record the event's figures at its step."""
        for key, value in _figures(event).items():
            self._writer.add_scalar(key, value, event.step)
        # On disk at once, so that no figure before a checkpoint is lost when the process is killed.
        self._writer.flush()

    def close(self, *, finished: bool) -> None:
        """Write what waits."""
        self._writer.close()


class MLflow:
    """Logs to MLflow's tracking store.

    Args:
        folder: keeps the id of MLflow's run.
        run_name: of a new one.
        is_resumed: continue the one whose id is there.
    """

    def __init__(self, folder: Path, run_name: str, *, is_resumed: bool) -> None:
        self._mlflow: Any = _require("mlflow")
        kept = folder / _MLFLOW_RUN
        self._mlflow.set_experiment(EXPERIMENT)
        if is_resumed and kept.is_file():
            self._mlflow.start_run(run_id=kept.read_text())
            self._told = True
        else:
            run = self._mlflow.start_run(run_name=run_name)
            write_bytes(kept, run.info.run_id.encode())
            self._told = False

    def on_event(self, event: Event, plan: Plan) -> None:
        """Log the event's figures at its step, and the settings before the first."""
        if not self._told:
            self._mlflow.log_params(dotted(plan.config))
            self._told = True
        for key, value in _figures(event).items():
            self._mlflow.log_metric(key, value, step=event.step)

    def close(self, *, finished: bool) -> None:
        """End MLflow's run; an interrupted one is marked so."""
        self._mlflow.end_run(status="FINISHED" if finished else "KILLED")


def _figures(event: Event) -> dict[str, float]:
    figures = {key: getattr(event, key) for key in _FIGURES}
    return {key: value for key, value in figures.items() if value is not None}


def _require(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MachineError(
            f"training.log_to names {package}, which is not installed",
            f'pip install "tpactl[{package}]", or leave it out of training.log_to',
        ) from error
