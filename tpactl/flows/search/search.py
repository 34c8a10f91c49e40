"""Searches the configuration of an adapter, by successive halving, within a budget.

Reads a data set and a base; writes the folder that ``formats.search`` describes. Everything that
has to survive a kill is in ``search.json`` and in the trials' own checkpoints. See
``docs/decisions/search.md``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tpactl import __version__
from tpactl.errors import MachineError, UsageError
from tpactl.flows.search import halving
from tpactl.flows.search.confirm import confirm
from tpactl.flows.search.picture import save_png
from tpactl.flows.search.place import refuse_another, search_folder
from tpactl.flows.search.sampler import draw, require_optuna
from tpactl.flows.search.space import check_defaults, read_space, shipped_space
from tpactl.flows.search.speakers import Parted, part, write_parted
from tpactl.flows.search.table import described, markdown
from tpactl.flows.train import beside, named_data, prepare_beside
from tpactl.formats.dataset import DataSet
from tpactl.formats.files import write_bytes, write_json
from tpactl.formats.run import Event, Run, RunConfig, unfinished
from tpactl.formats.search import (
    BEST,
    DEFAULT,
    PLOT,
    RECORD,
    TABLE,
    SearchRecord,
    State,
    Trial,
    TrialScore,
    read_search,
    trial_folder,
)
from tpactl.train.events import Plan
from tpactl.train.reading import check_data
from tpactl.train.settings import read as read_settings
from tpactl.train.settings import write as run_file
from tpactl.train.trials import Bench, FailedTrialError, Reached

RESERVE = 0.05
"""Of the budget, for the confirmation at the end."""


class Watcher(Protocol):
    """Is told what happens; the command line draws it."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell that ``done`` of ``total`` of a stage are done."""

    def note(self, text: str) -> None:
        """Say what goes on at the moment."""


@dataclass(frozen=True)
class Limits:
    """When a search ends; at least one is set."""

    budget_s: float | None = None
    """Seconds, over all processes that continue it. The default is trained to its end anyway."""
    trials: int | None = None
    """Configurations, the default among them."""


def search(
    config: RunConfig,
    out: Path,
    limits: Limits,
    *,
    space: Path | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> SearchRecord:
    """Search around ``config`` and write the folder ``out``; where it was begun, go on.

    The default, ``config`` itself, is trial 0 and trained to its end. The other trials are compared
    at rungs, and the best of each rung go on. The best by steering is compared with the default on
    speakers that chose no step and no trial; ``best.yaml`` holds it where it is no worse there.

    Args:
        config: of the default trial; ``data`` may be a raw folder, which is prepared beside
            ``out``.
        out: the search's folder.
        limits: when it ends; a search that has ended goes on under larger ones.
        space: what may vary; the shipped one without it.
        force: begin anew.
        watcher: told how it goes.

    Returns:
        What ``search.json`` holds.

    Raises:
        UsageError: a space or a setting that cannot be, or not that of the search at ``out``.
        InputError: no data, too little of dev, or ``out`` holds something else.
        MachineError: optuna is not installed, or device, memory or disk do not suffice.
        TpactlError: as ``train`` and ``eval`` raise it.
    """
    if limits.budget_s is None and limits.trials is None:
        raise UsageError("a search needs an end", "give --budget 20m, or --trials 30")
    require_optuna()
    watcher = watcher or _Silent()
    choices = read_space(space or shipped_space(), config)
    with search_folder(out, force=force):
        data = _data(config, out, watcher)
        parted = part(data)
        config = _named(config, data)
        write_parted(data, parted, out / "data")
        bench = Bench(out / "data", config, on_progress=watcher)
        defaults = bench.decided(config)
        check_defaults(choices, defaults)
        begun = SearchRecord(
            tpactl_version=__version__,
            config=config,
            space=choices,
            base_digest=bench.base_digest,
            data_digest=data.card.digest,
            evaluations=defaults["training.evaluations"],
            rungs=halving.rungs_of(defaults["training.evaluations"]),
            steering=parted.names(parted.steering),
            confirming=parted.names(parted.confirming),
            unit=parted.unit,
            notes=_notes(parted),
        )
        record = _continued(out, begun)
        record = _Search(bench, defaults, record, out, limits, watcher).run()
        # Gone before the base is loaded again to hear the confirming speakers.
        del bench
        return _conclude(record, out, watcher)


class _Search:
    """The trials of one search, and the clock."""

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


def _data(config: RunConfig, out: Path, watcher: Watcher) -> DataSet:
    """Return the data set; a raw folder's is prepared beside ``out``, once."""
    data = named_data(config)
    if not (data / "dataset.json").is_file():
        if read_search(out) is None:
            prepare_beside(data, out, watcher)
        data = beside(out)
    dataset = DataSet(data)
    check_data(dataset)
    return dataset


def _named(config: RunConfig, data: DataSet) -> RunConfig:
    """Return ``config`` with data and base named so that it holds from any folder."""
    base = Path(config.base)
    return msgspec.structs.replace(
        config,
        data=str(data.folder.resolve()),
        base=str(base.resolve()) if base.is_dir() else config.base,
    )


def _notes(parted: Parted) -> list[str]:
    if parted.unit == "speaker":
        return []
    return [
        "dev names fewer than two speakers, so its halves are of utterances: what was found may "
        "suit these speakers more than others"
    ]


def _continued(out: Path, begun: SearchRecord) -> SearchRecord:
    """Return the search at ``out``, or ``begun`` where none is there."""
    earlier = read_search(out)
    if earlier is None:
        return begun
    refuse_another(earlier, begun)
    return msgspec.structs.replace(earlier, config=begun.config)


def _conclude(record: SearchRecord, out: Path, watcher: Watcher) -> SearchRecord:
    """Confirm the best trial, and write what is left of the search."""
    started = time.monotonic()
    best = halving.best_finished(record.trials).number
    found = record.confirmation
    if found is None or found.trial != best:
        watcher.note("")
        found = confirm(
            out,
            out / "data",
            best,
            base=record.config.base,
            device=record.config.device,
            on_progress=watcher,
        )
    record = msgspec.structs.replace(
        record,
        confirmation=found,
        best=best if found.is_confirmed else DEFAULT,
        seconds=round(record.seconds + time.monotonic() - started, 3),
    )
    write_bytes(out / BEST, _best_file(record, out).encode())
    try:
        save_png(record, out / PLOT)
    except MachineError as error:
        note = f"{error.problem}: {error.fix}"
        record = msgspec.structs.replace(record, notes=[*dict.fromkeys([*record.notes, note])])
    write_bytes(out / TABLE, markdown(record).encode())
    write_json(out / RECORD, record)
    # Gigabytes, and only trials that share the search's data could use them again.
    shutil.rmtree(out / "prefix", ignore_errors=True)
    return record


def _best_file(record: SearchRecord, out: Path) -> str:
    """Return the run file of the best trial, for the whole data set it was searched on."""
    assert record.best is not None
    trial = record.trials[record.best]
    used, given = Run(trial_folder(out, trial.number)).record.config, record.config
    config = msgspec.structs.replace(
        used,
        data=given.data,
        base=given.base,
        device=given.device,
        precision=given.precision,
        training=msgspec.structs.replace(used.training, cache_dir=given.training.cache_dir),
    )
    return (
        f"# Found by tpactl search, trial {trial.number}: {described(trial)}.\n{run_file(config)}"
    )


class _Silent:
    """A watcher that nobody looks at."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass
