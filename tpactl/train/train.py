"""Trains: a prepared data set and a base become a run folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import msgspec
import torch
from torch.optim import Optimizer

from tpactl import __version__
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.formats.dataset import DataSet
from tpactl.formats.files import write_json
from tpactl.formats.progress import Progress
from tpactl.formats.run import (
    START,
    Cost,
    Event,
    RunConfig,
    RunRecord,
    Start,
    read_start,
    text_digest,
    unfinished,
)
from tpactl.train import batch_size
from tpactl.train.checkpoint import Checkpoints, Saved, Standing
from tpactl.train.cost import Meter, cpu_threads
from tpactl.train.defaults import explain
from tpactl.train.device import choose_precision, make_accelerator
from tpactl.train.events import EventLog, OnEvent, Plan
from tpactl.train.examples import Split
from tpactl.train.failures import how_to_go_on
from tpactl.train.faster import choose
from tpactl.train.folder import check_place, run_folder, saved_step
from tpactl.train.hearing import Hearing
from tpactl.train.loop import Fit, Loop
from tpactl.train.prefix_cache import cached_prefix
from tpactl.train.ranks import Ranks, join
from tpactl.train.reading import Material, check_data, read_data
from tpactl.train.recompute import recomputed_blocks
from tpactl.train.same_training import Identity
from tpactl.train.save import environment, save_record
from tpactl.train.schedule import plan_steps
from tpactl.train.surroundings import Surroundings, look_around, wherever
from tpactl.train.trackers import check_installed, open_tracker
from tpactl.train.trained import State, Trained, begin

Pause = Callable[[float], bool]
"""Asked after each checkpoint, with the progress from 0 to 1: whether to stop there for now."""


class Paused(BaseException):
    """The training stopped where ``pause`` said so, its checkpoint kept; it is no error."""


def train(
    data: Path,
    config: RunConfig,
    out: Path,
    *,
    force: bool = False,
    resume: bool = False,
    ranks: Ranks | None = None,
    material: Material | None = None,
    pause: Pause | None = None,
    on_event: OnEvent | None = None,
    on_progress: Progress | None = None,
) -> RunRecord:
    """Train ``config.method`` on a prepared data set and write the run folder ``out``.

    The state with the lowest dev WER is kept, the untrained one included, so a run is never worse
    on dev than its base. On an error or an interrupt nothing is left at ``out``; what was saved
    until then stays in ``formats.run.unfinished(out)``.

    Args:
        data: what ``tpactl prepare`` wrote.
        config: the run file; what it leaves open is chosen by ``train.defaults``.
        out: the run folder; it must not exist, or be a run and ``force`` set.
        force: replace the run at ``out`` once the new one is whole, and throw away an unfinished
            one.
        resume: continue the unfinished training of ``out``; where there is none, start it.
        ranks: the processes that train together, each of which calls this; alone without it.
        material: ``config.base`` and ``data``, where they are loaded already; the method ``full``
            changes the base for good.
        pause: stops a training that ``resume`` is to continue; it runs to its end without it.
        on_event: told of every event, beside ``events.jsonl``; by the first process only.
        on_progress: told how reading the audio goes.

    Raises:
        UsageError: a setting that cannot be, or not that of the training to resume.
        InputError: no data set, a split without speech, or a loss that exploded.
        IntegrityError: the data set was changed since it was prepared, or a checkpoint damaged.
        BaseError: the base cannot be loaded or adapted.
        MachineError: device, memory or disk do not suffice.
        Paused: ``pause`` said so.
    """
    check_place(out, force=force, resume=resume)
    dataset = DataSet(data)
    check_data(dataset)
    check_installed(config.training.log_to)
    ranks = ranks or join(config.device)
    surroundings = look_around(config.augment, on_progress)
    base = load_base(config.base, device=ranks.device) if material is None else material.base
    with (
        _building(out, ranks, force=force, resume=resume),
        cpu_threads(ranks.device) as threads,
        torch.random.fork_rng(devices=_cuda_devices()),
        how_to_go_on(out, ranks.device),
    ):
        training = _Training(
            base, dataset, config, surroundings, ranks, threads, out, material, pause
        )
        return training.run(on_event, on_progress)


class _Training:
    """One call of ``train`` whose inputs are checked and whose folder is open."""

    def __init__(
        self,
        base: Base,
        dataset: DataSet,
        config: RunConfig,
        surroundings: Surroundings,
        ranks: Ranks,
        threads: int,
        out: Path,
        material: Material | None,
        pause: Pause | None,
    ) -> None:
        self.base = base
        self.dataset = dataset
        self.config = config
        self.surroundings = surroundings
        self.ranks = ranks
        self.threads = threads
        self.out = out
        self.material = material
        self.pause = pause
        self.folder = unfinished(out)
        self.chosen = ""
        self.meter = Meter(ranks.device)

    def run(self, on_event: OnEvent | None, on_progress: Progress | None) -> RunRecord:
        material = self.material or read_data(
            self.base, self.dataset, self.config.training.features_mb * 2**20, on_progress
        )
        dev = material.dev
        given = self.config
        self.config = self._resolve(material.train, dev)
        self.chosen = self._explain(given, sum(material.train.durations) / 3600)
        train = material.train.augmented(Hearing(self.config, self.surroundings))
        settings = self.config.training
        torch.manual_seed(settings.seed)
        trained = begin(self.base, self.config)
        course, schedule = plan_steps(train.durations, settings)
        plan = Plan(
            config=self.config,
            total_steps=len(course),
            total_epochs=course.epochs_after(len(course)),
            train_utterances=len(train),
            train_s=sum(train.durations),
            dev_utterances=len(dev),
            trained_parameters=trained.num_parameters,
            base_parameters=self.base.num_parameters,
            device=self.ranks.device,
            max_seconds=schedule.max_seconds,
            chosen=self.chosen,
        )
        identity = Identity(
            self.config,
            self.base.identity.digest,
            self.dataset.card.digest,
            self.surroundings.digests,
        )
        checkpoints = Checkpoints(self.folder, identity, settings.keep_checkpoints)
        saved = self._saved(checkpoints)
        with ExitStack() as stack:
            stack.callback(trained.release)
            emit: Callable[[Event], None] = _forget
            save: Callable[[Standing, State, Optimizer], None] = _forget
            if self.ranks.is_first:
                listeners = [*self._trackers(stack, saved), *([on_event] if on_event else [])]
                log = stack.enter_context(self._log(plan, identity, saved, listeners))
                emit, save = log.emit, partial(self._save, checkpoints, log)
                for note in [] if saved else material.notes:
                    emit(self._note(note, 0))
            stack.enter_context(recomputed_blocks(self.base, settings.activation_checkpointing))
            precision = choose_precision(self.ranks.device, self.config.precision)
            accelerator = make_accelerator(self.ranks.device, precision)
            cached = None
            if settings.cached_prefix:
                cached = cached_prefix(
                    self.base,
                    trained.adapter,
                    self.dataset,
                    train,
                    dev,
                    self.config,
                    augment_digests=self.surroundings.digests,
                    precision=precision,
                    autocast=accelerator.autocast,
                    ranks=self.ranks,
                    note=lambda message: emit(self._note(message, 0)),
                    on_progress=on_progress,
                )
            engine = choose(
                self.base,
                trained,
                self.config,
                train,
                course,
                cached=cached,
                ranks=self.ranks,
                autocast=accelerator.autocast,
                may_round=self.material is None,
                note=lambda message: emit(self._note(message, 0)),
            )
            loop = Loop(
                base=self.base,
                trained=trained,
                train=train,
                dev=dev,
                settings=settings,
                course=course,
                schedule=schedule,
                accelerator=accelerator,
                engine=engine,
                ranks=self.ranks,
                meter=self.meter,
                emit=emit,
                save=save,
                cached=cached,
            )
            try:
                fit = loop.run(saved)
            except KeyboardInterrupt:
                step = saved_step(self.out)
                if step is not None:
                    emit(self._note(f"step {step} is saved; --resume goes on from there", step))
                raise
        record = self._record(fit, trained)
        if self.ranks.is_first:
            trained.save(self.folder)
            save_record(record, self.folder)
        return record

    def _saved(self, checkpoints: Checkpoints) -> Saved | None:
        """Return the checkpoint to go on from, the same in every process."""
        # The first process looks first: it has cleared the folder of what is not to be resumed.
        saved = checkpoints.newest() if self.ranks.is_first else None
        if not self.ranks.agree(saved is not None):
            return None
        saved = saved or checkpoints.newest()
        assert saved is not None
        self.meter.resume(saved.record.seconds, saved.record.peak_memory_bytes)
        return saved

    def _log(
        self,
        plan: Plan,
        identity: Identity,
        saved: Saved | None,
        listeners: Sequence[OnEvent],
    ) -> EventLog:
        start = Start(
            tpactl_version=__version__,
            config=self.config,
            chosen=self.chosen,
            base_digest=identity.base_digest,
            data_digest=identity.data_digest,
            augment_digests=identity.augment_digests,
            total_steps=plan.total_steps,
            trained_parameters=plan.trained_parameters,
            base_parameters=plan.base_parameters,
            environment=environment(self.threads, self.config.precision),
        )
        write_json(self.folder / START, start)
        (self.folder / "run.json").unlink(missing_ok=True)
        keep_bytes = 0 if saved is None else saved.record.events_bytes
        return EventLog(self.folder, plan, listeners, keep_bytes)

    def _trackers(self, stack: ExitStack, saved: Saved | None) -> list[OnEvent]:
        """Open the places that ``training.log_to`` names; ``stack`` closes them."""
        step = None if saved is None else saved.record.step
        opened: list[OnEvent] = []
        for name in self.config.training.log_to:
            tracker = open_tracker(name, self.folder, self.out.name, resumed_at=step)
            stack.push(lambda kind, *_, ended=tracker.close: ended(finished=kind is None))
            opened.append(tracker.on_event)
        return opened

    def _save(
        self,
        checkpoints: Checkpoints,
        log: EventLog,
        standing: Standing,
        state: State,
        optimizer: Optimizer,
    ) -> None:
        checkpoints.save(
            standing,
            state,
            optimizer,
            seconds=self.meter.seconds,
            peak_memory_bytes=self.meter.peak_memory_bytes(),
            events_bytes=log.saved_bytes(),
        )
        if self.pause is not None and standing.progress < 1 and self.pause(standing.progress):
            raise Paused

    def _note(self, message: str, step: int) -> Event:
        seconds = round(self.meter.seconds, 3)
        return Event(kind="note", time_s=seconds, step=step, epoch=0.0, message=message)

    def _resolve(self, train: Split, dev: Split) -> RunConfig:
        base_path = Path(self.config.base)
        begun = read_start(self.out)
        if begun is not None and self.config.training.batch_s == "auto":
            # What was found when it began; other trainings may hold memory now.
            found = msgspec.structs.replace(
                self.config.training, batch_s=begun.config.training.batch_s
            )
            self.config = msgspec.structs.replace(self.config, training=found)
        resolved = self.ranks.agree(
            batch_size.resolve(self.base, self.config, train, dev, self.ranks.device)
        )
        return msgspec.structs.replace(
            resolved,
            augment=wherever(resolved.augment),
            base=str(base_path.resolve()) if base_path.is_dir() else self.config.base,
            data=str(self.dataset.folder.resolve()),
            device=self.ranks.device,
            precision=choose_precision(self.ranks.device, self.config.precision),
        )

    def _explain(self, given: RunConfig, hours: float) -> str:
        """Return why the settings are what they are; of a resumed training, what it began with."""
        begun = read_start(self.out)
        if begun is not None and begun.chosen:
            return begun.chosen
        parameters = self.base.num_parameters
        return explain(given, self.config, hours=hours, base_parameters=parameters)

    def _record(self, fit: Fit, trained: Trained) -> RunRecord:
        rows = self.dataset.utterances("train")
        return RunRecord(
            tpactl_version=__version__,
            config=self.config,
            chosen=self.chosen,
            base_ref=self.config.base,
            base_digest=self.base.identity.digest,
            data_path=str(self.dataset.folder.resolve()),
            data_digest=self.dataset.card.digest,
            train_speakers=sorted({row.speaker for row in rows if row.speaker is not None}),
            train_text_digests=sorted({text_digest(row.text) for row in rows}),
            train_audio_digests=sorted({row.audio_digest for row in rows}),
            augment_digests=self.surroundings.digests,
            best_step=fit.best_step,
            best_dev_wer=fit.best.wer,
            best_dev_cer=fit.best.cer,
            base_dev_wer=fit.untrained.wer,
            base_dev_cer=fit.untrained.cer,
            stopped_by=fit.stopped_by,
            cost=Cost(
                seconds=round(self.meter.seconds, 3),
                peak_memory_bytes=self.meter.peak_memory_bytes(),
                device=self.ranks.device,
                trained_parameters=trained.num_parameters,
                adapter_parameters=trained.adapter_parameters,
                head_parameters=trained.head_parameters,
                base_parameters=self.base.num_parameters,
                steps=fit.steps,
                epochs=round(fit.epochs, 4),
                audio_hours_seen=round(fit.audio_s / 3600, 6),
            ),
            environment=environment(self.threads, self.config.precision),
        )


def _forget(*_: object) -> None:
    """Stand for what only the first of several processes does."""


@contextmanager
def _building(out: Path, ranks: Ranks, *, force: bool, resume: bool) -> Iterator[None]:
    """Hold the unfinished folder open in the first process; the others only read it."""
    if not ranks.is_first:
        yield
        return
    with run_folder(out, force=force, resume=resume):
        yield


def _cuda_devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
