"""Every step on the shipped example, from an audio folder to a verified package.

WORKDIR/quickstart.json              what was made from what (``tpactl.flows.parts``)
WORKDIR/data/                        prepare
WORKDIR/runs/tpa/, WORKDIR/runs/full/    train: the adapter, and full fine-tuning beside it
WORKDIR/report/                      eval: base, adapter and full fine-tune on the test voices
WORKDIR/warehouse-0.1.0.tpa          package, evaluation included

In a folder where it ran before, data, runs and package are kept if they are still valid. Measuring
and verifying are done every time: a number on the screen was measured in the run that shows it.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from tpactl.flows.parts import Parts, folder_digest, parts_of
from tpactl.flows.trainings import Training, train_all
from tpactl.formats.adapter import TPASettings
from tpactl.formats.dataset import DataSet
from tpactl.formats.files import Record, to_builtins
from tpactl.formats.package import SUFFIX
from tpactl.formats.progress import Progress
from tpactl.formats.report import Report, SystemResult
from tpactl.formats.run import Event, Run, RunConfig, TrainingSettings
from tpactl.formats.unfinished import BUILDING_PREFIX
from tpactl.shipped import example_department

if TYPE_CHECKING:
    from tpactl.package.verify import Verification
    from tpactl.train.events import Plan as TrainingPlan

SCHEMA_VERSION = 1
TRAIN_ADAPTER, TRAIN_FULL = "train tpa", "train full"
STEPS = ("prepare", TRAIN_ADAPTER, TRAIN_FULL, "eval", "package", "verify", "transcribe")
DATA, ADAPTER_RUN, FULL_RUN, REPORT = "data", "runs/tpa", "runs/full", "report"

# Small batches and large learning rates, because a minute holds few steps. tpactl train's own
# defaults take longer and end lower.
ADAPTER = RunConfig(
    method="tpa",
    # So few steps learn nothing by heart: the defaults hold them back too much.
    adapter=TPASettings(dropout=0.0),
    training=TrainingSettings(
        learning_rate=1.2e-2,
        head_learning_rate=4e-3,
        weight_decay=0.1,
        max_epochs=10,
        batch_s=15,
        evaluations=3,
    ),
)
FULL = RunConfig(
    method="full",
    training=TrainingSettings(
        learning_rate=1e-3, head_learning_rate=1e-3, max_epochs=6, batch_s=20, evaluations=3
    ),
)


@dataclass(frozen=True)
class Plan:
    """What the quickstart takes through the steps.

    The two trainings are ordinary run files. They are limited by epochs, not by minutes, so that
    the same machine gives the same result again.
    """

    department: Path = field(default_factory=example_department)
    base: str = "starter"
    adapter: RunConfig = ADAPTER
    full: RunConfig = FULL
    package_name: str = "warehouse/radio"
    package_version: str = "0.1.0"

    @property
    def package_file(self) -> str:
        """Name of the package's file."""
        return f"{self.package_name.partition('/')[0]}-{self.package_version}{SUFFIX}"


@dataclass(frozen=True)
class Step:
    """A step that is done."""

    number: int
    name: str
    summary: str
    seconds: float
    kept: bool
    """An earlier run's result was still valid."""


class Watcher(Protocol):
    """Is told what happens; the command line draws it. Several steps may be under way at once."""

    def begin(self, name: str) -> None:
        """A step begins."""

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """Part of it is done."""

    def note(self, name: str, text: str) -> None:
        """Its figures of the moment."""

    def end(self, step: Step) -> None:
        """It is done."""


class Outcome(Record, kw_only=True):
    """What ``tpactl quickstart --json`` prints. Rates are fractions, measured in this run."""

    schema_version: int = SCHEMA_VERSION
    base_wer: float
    adapter_wer: float
    full_wer: float
    adapter_params: int
    """All trained parameters, the head's included."""
    full_params: int
    package_path: str
    """Absolute."""
    package_bytes: int
    verified: bool
    elapsed_s: float


@dataclass(frozen=True)
class Heard:
    """One recording of a test voice, and what was made of it."""

    audio: Path
    said: str
    base: str
    adapter: str


@dataclass(frozen=True)
class Quickstart:
    """Everything there is to show."""

    outcome: Outcome
    report: Report
    verification: Verification
    heard: Heard


def quickstart(workdir: Path, *, watcher: Watcher, plan: Plan | None = None) -> Quickstart:
    """Take a department through every step in ``workdir``.

    Args:
        workdir: is made if need be; what an earlier quickstart left there is used where it is
            valid, anything else in it is left alone.
        watcher: told of every step.
        plan: the shipped example on the starter unless given.

    Raises:
        UsageError: ``workdir`` is a file, in use, or holds something else under a name needed.
        TpactlError: as the steps raise it.
    """
    started = time.perf_counter()
    plan = plan or Plan()
    with parts_of(workdir, "quickstart") as parts:
        flow = _Flow(plan, parts, watcher)
        flow.prepare()
        flow.train()
        report = flow.evaluate()
        package = flow.package()
        verification = flow.verify()
        heard = flow.transcribe()
    base, adapter, full = _systems(report)
    return Quickstart(
        outcome=Outcome(
            base_wer=base.wer.rate,
            adapter_wer=adapter.wer.rate,
            full_wer=full.wer.rate,
            adapter_params=Run(workdir / ADAPTER_RUN).record.cost.trained_parameters,
            full_params=Run(workdir / FULL_RUN).record.cost.trained_parameters,
            package_path=str(package.resolve()),
            package_bytes=package.stat().st_size,
            verified=verification.base == "matched",
            elapsed_s=round(time.perf_counter() - started, 3),
        ),
        report=report,
        verification=verification,
        heard=heard,
    )


class _Flow:
    """The steps, each with its inputs spelled out for ``Parts``."""

    def __init__(self, plan: Plan, parts: Parts, watcher: Watcher) -> None:
        self.plan = plan
        self.parts = parts
        self.folder = parts.folder
        self.watcher = watcher
        self._base_digest: str | None = None

    def prepare(self) -> None:
        def make(path: Path) -> None:
            from tpactl.prepare.prepare import prepare

            prepare(self.plan.department, path, on_progress=self._progress("prepare"))

        with _Clock(self.watcher, "prepare") as clock:
            source = folder_digest(self.plan.department)
            clock.kept = self.parts.keep_or_make(DATA, {"source": source}, make)
            splits = DataSet(self.folder / DATA).card.splits
            counts = ", ".join(f"{s.utterances} {name}" for name, s in splits.items())
            clock.summary = f"utterances: {counts}"

    def train(self) -> None:
        """Train the adapter and, beside it, the whole base."""
        places = {TRAIN_ADAPTER: ADAPTER_RUN, TRAIN_FULL: FULL_RUN}
        configs = {TRAIN_ADAPTER: self.plan.adapter, TRAIN_FULL: self.plan.full}
        clocks, trainings = {}, {}

        def begin(name: str) -> None:
            clocks[name] = _Clock(self.watcher, name)

        def end(name: str, *, kept: bool = False) -> None:
            record = Run(self.folder / places[name]).record
            clocks[name].kept = kept
            clocks[name].summary = (
                f"dev WER {record.base_dev_wer:.1%} -> {record.best_dev_wer:.1%}, "
                f"{record.cost.trained_parameters:,} parameters"
            )
            clocks[name].end()

        def done(name: str) -> None:
            self.parts.made(places[name])
            end(name)

        for name, place in places.items():
            config = msgspec.structs.replace(configs[name], base=self.plan.base)
            made_from = {
                "data": self.parts.digest(DATA),
                "base": self.base_digest,
                "config": to_builtins(config),
            }
            if self.parts.keep(place, made_from):
                begin(name)
                end(name, kept=True)
            else:
                trainings[name] = Training(self.folder / DATA, config, self.folder / place)
        train_all(trainings, on_begin=begin, on_event=self._show, on_done=done)

    def evaluate(self) -> Report:
        from tpactl.eval.compare import compare
        from tpactl.eval.page.page import write_page
        from tpactl.eval.systems import system_of_run

        with (
            _Clock(self.watcher, "eval") as clock,
            tempfile.TemporaryDirectory(prefix=BUILDING_PREFIX, dir=self.folder) as scratch,
        ):
            fresh = Path(scratch) / REPORT
            report = compare(
                self.folder / DATA,
                "test",
                self.plan.base,
                [
                    system_of_run(self.folder / ADAPTER_RUN, "tpa"),
                    system_of_run(self.folder / FULL_RUN, "full"),
                ],
                fresh,
                on_progress=self._progress("eval"),
            )
            write_page(fresh)
            # The stored report goes into the package, timings included; one that says the same
            # stays, and with it the package.
            clock.kept = self.parts.keep_or_make(REPORT, _measured(report), fresh.rename)
            base, adapter, full = _systems(report)
            clock.summary = (
                f"test WER: base {base.wer.rate:.1%}, adapter {adapter.wer.rate:.1%}, "
                f"full fine-tune {full.wer.rate:.1%}"
            )
        return report

    def package(self) -> Path:
        plan = self.plan

        def make(path: Path) -> None:
            from tpactl.bases.load import load_base
            from tpactl.package.build import build

            build(
                self.folder / ADAPTER_RUN,
                name=plan.package_name,
                version=plan.package_version,
                out=path,
                base=load_base(plan.base),
                evaluation=self.folder / REPORT,
                on_progress=self._progress("package"),
            )

        with _Clock(self.watcher, "package") as clock:
            made_from = {
                "run": self.parts.digest(ADAPTER_RUN),
                "report": self.parts.digest(REPORT),
                "base": self.base_digest,
                "name": [plan.package_name, plan.package_version],
            }
            clock.kept = self.parts.keep_or_make(plan.package_file, made_from, make)
            file = self.folder / plan.package_file
            clock.summary = f"{file}, {file.stat().st_size:,} bytes"
        return file

    def verify(self) -> Verification:
        from tpactl.package.verify import verify

        with _Clock(self.watcher, "verify") as clock:
            verification = verify(self.folder / self.plan.package_file, self.plan.base)
            checks = ", ".join(check.name for check in verification.checks)
            clock.summary = f"right: {checks}"
        return verification

    def transcribe(self) -> Heard:
        from tpactl.flows.transcribe import transcribe

        dataset = DataSet(self.folder / DATA)
        utterance = dataset.utterances("test")[0]
        audio = dataset.audio_path(utterance)
        with _Clock(self.watcher, "transcribe") as clock:
            package = self.folder / self.plan.package_file
            base, adapter = (
                transcribe([audio], self.plan.base, packages=packages).transcripts[0].text
                for packages in ([], [package])
            )
            clock.summary = adapter
        return Heard(audio, utterance.text, base, adapter)

    @property
    def base_digest(self) -> str:
        """Content identity of the base."""
        if self._base_digest is None:
            from tpactl.bases.identity import fingerprint
            from tpactl.bases.load import resolve

            self._base_digest = fingerprint(resolve(self.plan.base)).digest
        return self._base_digest

    def _progress(self, name: str) -> Progress:
        return partial(self.watcher.progress, name)

    def _show(self, name: str, event: Event, plan: TrainingPlan) -> None:
        if event.kind == "dev" and event.dev_wer is not None:
            self.watcher.note(name, f"dev WER {event.dev_wer:.1%}")
        self.watcher.progress(name, "steps", event.step, plan.total_steps)


class _Clock:
    """Times a step and tells the watcher when it begins and ends."""

    def __init__(self, watcher: Watcher, name: str) -> None:
        self.watcher = watcher
        self.name = name
        self.kept = False
        self.summary = ""
        self.started = time.perf_counter()
        watcher.begin(name)

    def end(self) -> None:
        seconds = time.perf_counter() - self.started
        number = STEPS.index(self.name) + 1
        self.watcher.end(Step(number, self.name, self.summary, seconds, self.kept))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.end()


def _systems(report: Report) -> tuple[SystemResult, SystemResult, SystemResult]:
    """Return base, adapter and full fine-tune."""
    by_name = {system.name: system for system in report.systems}
    return by_name["base"], by_name["tpa"], by_name["full"]


def _measured(report: Report) -> dict[str, Any]:
    """Return what a report says, without how long it took."""
    return {
        "data": [report.data_digest, report.split],
        "base": report.base_digest,
        "normaliser": to_builtins(report.normaliser),
        "systems": [
            [s.name, s.digest, *(to_builtins(rate) for rate in (s.wer, s.cer, s.raw_wer))]
            for s in report.systems
        ],
    }
