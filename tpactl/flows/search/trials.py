"""The trials of a search: which is next, trained to where, and on disk before the one after it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tpactl.flows.search import halving
from tpactl.flows.search.budget import Limits
from tpactl.flows.search.sampler import draw
from tpactl.flows.search.watcher import Watcher
from tpactl.formats.files import write_json
from tpactl.formats.run import Event, RunConfig, unfinished
from tpactl.formats.search import (
    DEFAULT,
    RECORD,
    SearchRecord,
    State,
    Trial,
    TrialScore,
    trial_folder,
)
from tpactl.train.events import Plan
from tpactl.train.settings import read as read_settings
from tpactl.train.trials import Bench, FailedTrialError, Reached

RESERVE = 0.05
"""Of the budget, for the confirmation at the end."""


class Trials:
    """Those of one search.

    Args:
        bench: on which they are trained.
        defaults: dotted key to its value, every key decided.
        record: of the search so far.
        out: the search's folder.
        limits: when it ends.
        watcher: told how it goes.
    """

    def __init__(
        self,
        bench: Bench,
        defaults: dict[str, Any],
        record: SearchRecord,
        out: Path,
        limits: Limits,
        watcher: Watcher,
    ) -> None:
        self.bench = bench
        self.defaults = defaults
        self.record = record
        self.out = out
        self.limits = limits
        self.watcher = watcher
        self._ended_by: str | None = None
        self._spent_before = record.seconds
        self._started = time.monotonic()

    def run(self) -> SearchRecord:
        """Train trials until nothing is left to do, and return the record."""
        self._write()
        try:
            while (chosen := self._next()) is not None:
                self._train(*chosen)
        finally:
            self._write()
        self._write(ended_by=self._ended_by or ("trials" if self.limits.trials else "space"))
        return self.record

    def _next(self) -> tuple[Trial, int] | None:
        """Return which trial is trained now, and to which rung; ``None`` when nothing is left."""
        trials, last = self.record.trials, len(self.record.rungs) - 1
        if not trials:
            return self._new({}), last
        going = next((trial for trial in trials if trial.state == "under-way"), None)
        if going is not None and going.number == DEFAULT:
            return going, last
        if self._is_time_up():
            self._ended_by = "budget"
            return None
        if going is not None:
            return going, len(going.scores)
        waiting = halving.to_finish(trials)
        left = self._seconds_left()
        if left is not None:
            finishing = self._cost(waiting[0], last) if waiting else 0.0
            if left < self._cost(None, 0) + finishing:
                self._ended_by = "budget"
                fitting = (trial for trial in waiting if self._cost(trial, last) <= left)
                return next(((trial, last) for trial in fitting), None)
        promoted = halving.promotable(trials, len(self.record.rungs))
        if promoted is not None:
            return promoted, len(promoted.scores)
        if self.limits.trials is None or len(trials) < self.limits.trials:
            seed = self.record.config.training.seed
            settings = draw(self.record.space, self.defaults, trials, seed)
            if settings is not None:
                return self._new(settings), 0
            self._ended_by = "space"
        if waiting and halving.finalists(trials) < halving.FINALISTS:
            return waiting[0], last
        return None

    def _new(self, settings: dict[str, Any]) -> Trial:
        trial = Trial(number=len(self.record.trials), settings=settings, state="under-way")
        if settings:
            cached = self.bench.on_cached_prefix(self._config(trial), self._prefix)
            is_cached = self.bench.is_cacheable(cached)
            trial = msgspec.structs.replace(trial, cached_prefix=is_cached)
        return trial

    def _train(self, trial: Trial, rung: int) -> None:
        trial = self._put(msgspec.structs.replace(trial, state="under-way"))
        self._tell(trial, rung)
        is_default = trial.number == DEFAULT
        folder = trial_folder(self.out, trial.number)
        try:
            reached = self.bench.train(
                self._config(trial),
                folder,
                measurements=self.record.rungs[rung],
                is_time_up=(lambda: False) if is_default else self._is_time_up,
                on_event=self._listener(trial, rung),
                on_progress=self.watcher,
            )
        except FailedTrialError as error:
            if is_default:
                # Nothing to compare with: its own fix is what helps.
                raise error.__cause__ or error from None
            shutil.rmtree(unfinished(folder), ignore_errors=True)
            self._put(msgspec.structs.replace(trial, state="failed", reason=str(error)))
            return
        self._put(_come_to(trial, reached, self.record.rungs, rung))

    def _config(self, trial: Trial) -> RunConfig:
        shared = msgspec.structs.replace(self.record.config, data=str(self.out / "data"))
        config = read_settings(None, trial.settings, over=shared)
        return self.bench.on_cached_prefix(config, self._prefix) if trial.cached_prefix else config

    @property
    def _prefix(self) -> Path:
        return (self.out / "prefix").resolve()

    def _put(self, trial: Trial) -> Trial:
        """Write ``trial`` into the record, on disk when this returns."""
        others = [known for known in self.record.trials if known.number != trial.number]
        trials = sorted([*others, trial], key=lambda trial: trial.number)
        self._write(trials=trials)
        return trial

    def _write(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(
            self.record, **{"ended_by": None, **changes}, seconds=round(self._spent(), 3)
        )
        write_json(self.out / RECORD, self.record)

    def _listener(self, trial: Trial, rung: int) -> Callable[[Event, Plan], None]:
        def on_event(event: Event, plan: Plan) -> None:
            if event.kind == "dev":
                self._write()
            self._tell(trial, rung)

        return on_event

    def _tell(self, trial: Trial, rung: int) -> None:
        """Tell the watcher where it stands: against the clock, or else against the trials."""
        stage = f"trial {trial.number}, rung {rung + 1}/{len(self.record.rungs)}"
        scores = [known.scores[-1].wer for known in self.record.trials if known.scores]
        self.watcher.note(f"best {min(scores):.1%}" if scores else "")
        if self.limits.budget_s is not None:
            self.watcher(stage, round(self._spent()), round(self.limits.budget_s))
        else:
            self.watcher(stage, trial.number, self.limits.trials or 0)

    def _spent(self) -> float:
        return self._spent_before + time.monotonic() - self._started

    def _seconds_left(self) -> float | None:
        budget = self.limits.budget_s
        return None if budget is None else budget * (1 - RESERVE) - self._spent()

    def _is_time_up(self) -> bool:
        left = self._seconds_left()
        return left is not None and left <= 0

    def _cost(self, trial: Trial | None, rung: int) -> float:
        """Return the seconds until ``trial``, or a new one, reaches ``rung`` at its pace."""
        whole_s = None if trial is None else trial.whole_s
        there = 0.0 if trial is None else trial.progress
        return (whole_s or self.record.trials[DEFAULT].whole_s or 0.0) * max(
            self.record.rungs[rung] / self.record.evaluations - there, 0.0
        )


def _come_to(trial: Trial, reached: Reached, rungs: list[int], rung: int) -> Trial:
    """Return ``trial`` as far as it has come on its way to ``rung``."""
    scores = [score for stop in rungs if (score := reached.best_until(stop)) is not None]
    state: State = "under-way"
    if reached.is_finished:
        state = "finished"
    elif len(scores) > rung:
        state = "waiting"
    return msgspec.structs.replace(
        trial,
        state=state,
        scores=[TrialScore(wer=score.wer, cer=score.cer) for score in scores],
        progress=round(reached.progress, 6),
        seconds=round(reached.seconds, 3),
        whole_s=None if reached.whole_s is None else round(reached.whole_s, 3),
        trained_parameters=reached.trained_parameters,
    )
