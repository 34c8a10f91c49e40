"""Trains: a prepared data set and a base become a run folder, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch

from tpactl import __version__
from tpactl.bases import devices
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.errors import InputError, IntegrityError, MachineError
from tpactl.formats.dataset import SPLITS, DataSet, digest_of
from tpactl.formats.files import whole_folder
from tpactl.formats.progress import Progress
from tpactl.formats.run import Cost, Event, RunConfig, RunRecord, text_digest
from tpactl.train import defaults
from tpactl.train.batches import Course
from tpactl.train.cost import Meter, cpu_threads
from tpactl.train.device import choose_precision, make_accelerator
from tpactl.train.events import EventLog, OnEvent, Plan
from tpactl.train.examples import LeftOut, Split, read_split, unwritable_characters
from tpactl.train.loop import Fit, Loop
from tpactl.train.save import check_place, environment, save_record
from tpactl.train.schedule import Schedule
from tpactl.train.trained import Trained, begin


def train(
    data: Path,
    config: RunConfig,
    out: Path,
    *,
    force: bool = False,
    on_event: OnEvent | None = None,
    on_progress: Progress | None = None,
) -> RunRecord:
    """Train ``config.method`` on a prepared data set and write the run folder ``out``.

    The state with the lowest dev WER is kept, the untrained one included, so a run is never worse
    on dev than its base. On an error or an interrupt nothing is left at ``out``.

    Args:
        data: what ``tpactl prepare`` wrote.
        config: the run file; what it leaves open is chosen by ``train.defaults``.
        out: the run folder; it must not exist, or be a run and ``force`` set.
        force: replace the run at ``out`` once the new one is whole.
        on_event: told of every event, beside ``events.jsonl``.
        on_progress: told how reading the audio goes.

    Raises:
        UsageError: a setting that cannot be.
        InputError: no data set, a split without speech, or a loss that became NaN.
        IntegrityError: the data set was changed since it was prepared.
        BaseError: the base cannot be loaded or adapted.
        MachineError: device, memory or disk do not suffice.
    """
    check_place(out, force=force)
    dataset = DataSet(data)
    _check_data(dataset)
    device = devices.choose(config.device)
    base = load_base(config.base, device=device)
    try:
        with (
            whole_folder(out, replace=force) as folder,
            cpu_threads(device) as threads,
            torch.random.fork_rng(devices=_cuda_devices()),
        ):
            return _Training(base, dataset, config, device, threads, folder).run(
                on_event, on_progress
            )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(device, config, error) from error


class _Training:
    """One call of ``train`` whose inputs are checked and whose folder is open."""

    def __init__(
        self,
        base: Base,
        dataset: DataSet,
        config: RunConfig,
        device: str,
        threads: int,
        folder: Path,
    ) -> None:
        self.base = base
        self.dataset = dataset
        self.config = config
        self.device = device
        self.threads = threads
        self.folder = folder
        self.meter = Meter(device)

    def run(self, on_event: OnEvent | None, on_progress: Progress | None) -> RunRecord:
        train, dev, notes = self._read(on_progress)
        self.config = self._resolve(train)
        settings = self.config.training
        torch.manual_seed(settings.seed)
        trained = begin(self.base, self.config)
        assert settings.batch_s is not None
        assert settings.max_epochs is not None
        assert settings.evaluations is not None
        course = Course(
            train.durations,
            batch_s=settings.batch_s,
            seed=settings.seed,
            max_epochs=settings.max_epochs,
            max_steps=settings.max_steps,
        )
        max_seconds = settings.max_minutes * 60 if settings.max_minutes else None
        schedule = Schedule(
            total_steps=len(course),
            warmup_fraction=settings.warmup_fraction,
            evaluations=settings.evaluations,
            max_seconds=max_seconds,
        )
        plan = Plan(
            config=self.config,
            total_steps=len(course),
            total_epochs=course.epochs_after(len(course)),
            train_utterances=len(train),
            train_s=sum(train.durations),
            dev_utterances=len(dev),
            trained_parameters=trained.num_parameters,
            base_parameters=self.base.num_parameters,
            device=self.device,
            max_seconds=max_seconds,
        )
        with EventLog(self.folder, on_event) as log:
            for note in notes:
                seconds = round(self.meter.seconds, 3)
                event = Event(kind="note", time_s=seconds, step=0, epoch=0.0, message=note)
                log.emit(event, plan)
            fit = Loop(
                base=self.base,
                trained=trained,
                train=train,
                dev=dev,
                settings=settings,
                course=course,
                schedule=schedule,
                accelerator=make_accelerator(
                    self.device, choose_precision(self.device, self.config.precision)
                ),
                meter=self.meter,
                emit=lambda event: log.emit(event, plan),
            ).run()
        record = self._record(fit, trained)
        trained.save(self.folder)
        trained.release()
        save_record(record, self.folder)
        return record

    def _read(self, on_progress: Progress | None) -> tuple[Split, Split, list[str]]:
        limit = self.config.training.features_mb * 2**20
        train, left_out = read_split(
            self.base,
            self.dataset,
            "train",
            limit_bytes=limit,
            drop_unusable=True,
            on_progress=on_progress,
        )
        if not len(train):
            raise _nothing_to_learn(self.dataset, left_out)
        dev, _ = read_split(
            self.base,
            self.dataset,
            "dev",
            limit_bytes=limit,
            drop_unusable=False,
            on_progress=on_progress,
        )
        if not any(dev.references):
            raise InputError(
                f"{self.dataset.folder}/dev.jsonl: the base can write no character of it",
                "choose a base for this language and script, or correct the transcripts",
            )
        notes = left_out.notes()
        unwritable = unwritable_characters(self.base, self.dataset, "train")
        if unwritable:
            notes.append(
                f"the base cannot write {' '.join(sorted(unwritable)[:20])}: these characters are "
                "dropped from the transcripts; spell out what they stand for"
            )
        return train, dev, notes

    def _resolve(self, train: Split) -> RunConfig:
        base_path = Path(self.config.base)
        resolved = defaults.resolve(
            self.config,
            hours=sum(train.durations) / 3600,
            base_parameters=self.base.num_parameters,
        )
        return msgspec.structs.replace(
            resolved,
            base=str(base_path.resolve()) if base_path.is_dir() else self.config.base,
            data=str(self.dataset.folder.resolve()),
            device=self.device,
            precision=choose_precision(self.device, self.config.precision),
        )

    def _record(self, fit: Fit, trained: Trained) -> RunRecord:
        rows = self.dataset.utterances("train")
        return RunRecord(
            tpactl_version=__version__,
            config=self.config,
            base_ref=self.config.base,
            base_digest=self.base.identity.digest,
            data_path=str(self.dataset.folder.resolve()),
            data_digest=self.dataset.card.digest,
            train_speakers=sorted({row.speaker for row in rows if row.speaker is not None}),
            train_text_digests=sorted({text_digest(row.text) for row in rows}),
            train_audio_digests=sorted({row.audio_digest for row in rows}),
            best_step=fit.best_step,
            best_dev_wer=fit.best.wer,
            best_dev_cer=fit.best.cer,
            base_dev_wer=fit.untrained.wer,
            base_dev_cer=fit.untrained.cer,
            stopped_by=fit.stopped_by,
            cost=Cost(
                seconds=round(self.meter.seconds, 3),
                peak_memory_bytes=self.meter.peak_memory_bytes(),
                device=self.device,
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


def _check_data(dataset: DataSet) -> None:
    rows = {split: dataset.utterances(split) for split in SPLITS}
    for split in ("train", "dev"):
        if not rows[split]:
            raise InputError(
                f"{dataset.folder}: the {split} split has no utterances; training needs train "
                "and dev",
                "prepare more recordings, or more speakers, so that every split gets some",
            )
    if digest_of((split, row) for split in SPLITS for row in rows[split]) != dataset.card.digest:
        raise IntegrityError(
            f"{dataset.folder}: its .jsonl files are not those that dataset.json describes",
            "correct the source and prepare it again, so that the run names what it learnt from",
        )


def _nothing_to_learn(dataset: DataSet, left_out: LeftOut) -> InputError:
    return InputError(
        f"{dataset.folder}/train.jsonl: no utterance can be learnt from with this base",
        "choose a base for this language and script, or correct the transcripts",
        left_out.notes(),
    )


def _out_of_memory(device: str, config: RunConfig, error: BaseException) -> MachineError:
    # Not resolved yet where it is None; every default is a multiple of 30.
    half = (config.training.batch_s or 60.0) / 2
    return MachineError(
        f"{device} ran out of memory: {str(error).splitlines()[0] if str(error) else 'no more'}",
        f"train again with --set training.batch_s={half:g}, or on a larger device",
    )


def _cuda_devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
