"""What can be compared with a base: runs of ``tpactl train``, adapters out of packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tpactl.errors import InputError, UsageError
from tpactl.formats.adapter import CONFIG_FILE, WEIGHTS_FILE
from tpactl.formats.files import read_jsonl, sha256_of_file
from tpactl.formats.identity import BaseIdentity
from tpactl.formats.report import CurvePoint
from tpactl.formats.run import Event, Run

BASE_NAME = "base"
"""How the base is called beside the systems; no system may take the name."""


def beam_name(system: str) -> str:
    """Return how ``system`` is called where beam search decodes it."""
    return f"{system} + beam"


@dataclass(frozen=True)
class TrainingContent:
    """What a system was trained on, as its run or package records it."""

    speakers: frozenset[str]
    text_digests: frozenset[str]
    audio_digests: frozenset[str]


@dataclass(frozen=True)
class System:
    """One trained system.

    Attributes:
        name: its label in the report.
        kind: ``full`` is a model of its own; the others are adapters on the base.
        source: where the user finds it.
        folder: the adapter's folder, or the model directory of ``full``.
        digest: of the adapter's weights file, the package's manifest or the model.
        base_identity: known for packages only; lets a refusal name what differs.
        size_bytes: what must be stored for it beside the base.
        curve: its dev WER while it was trained; runs alone hold it.
    """

    name: str
    kind: Literal["run", "package", "full"]
    source: str
    folder: Path
    digest: str
    base_ref: str
    base_digest: str
    base_identity: BaseIdentity | None
    trained_parameters: int
    size_bytes: int
    train_seconds: float
    peak_memory_bytes: int | None
    training: TrainingContent
    curve: tuple[CurvePoint, ...] = ()


def system_of_run(folder: Path, name: str) -> System:
    """Return the system that ``tpactl train`` left in ``folder``.

    Raises:
        InputError: no finished run is there, or its adapter or model is gone.
    """
    run = Run(folder)
    record = run.record
    is_full = record.config.method == "full"
    trained = run.model_folder if is_full else run.adapter_folder
    needed = ("config.json",) if is_full else (CONFIG_FILE, WEIGHTS_FILE)
    missing = [file for file in needed if not (trained / file).is_file()]
    if missing:
        raise InputError(
            f"{folder} is not whole: {trained.name}/{missing[0]} is missing",
            "copy the run again, or train again",
        )
    return System(
        name=name,
        kind="full" if is_full else "run",
        source=str(folder),
        folder=trained,
        digest=_model_digest(trained) if is_full else sha256_of_file(trained / WEIGHTS_FILE),
        base_ref=record.base_ref,
        base_digest=record.base_digest,
        base_identity=None,
        trained_parameters=record.cost.trained_parameters,
        size_bytes=sum(file.stat().st_size for file in trained.rglob("*") if file.is_file()),
        train_seconds=record.cost.seconds,
        peak_memory_bytes=record.cost.peak_memory_bytes,
        training=TrainingContent(
            frozenset(record.train_speakers),
            frozenset(record.train_text_digests),
            frozenset(record.train_audio_digests),
        ),
        curve=_curve(folder),
    )


def _curve(run: Path) -> tuple[CurvePoint, ...]:
    if not (run / "events.jsonl").is_file():
        return ()
    return tuple(
        CurvePoint(step=e.step, seconds=e.time_s, dev_wer=e.dev_wer, dev_cer=e.dev_cer)
        for e in read_jsonl(run / "events.jsonl", Event)
        if e.dev_wer is not None
    )


def labels(runs: Sequence[Path], given: Sequence[str] = ()) -> list[str]:
    """Return one label a run: those ``given``, in the order of the runs, else the folders' names.

    Where two folders are called alike, as many folders in front are added as it takes to tell them
    apart.

    Raises:
        UsageError: not one label a run, an empty one, one twice, or a run given twice.
    """
    if not given:
        names = _shortest([run.resolve() for run in runs])
    elif len(given) == len(runs):
        names = [name.strip() for name in given]
    else:
        raise UsageError(
            f"{len(given)} names for {len(runs)} runs", "give --name once for each --run, in order"
        )
    for number, name in enumerate(names):
        if not name:
            raise UsageError("a name is empty", "give --name a word")
        if name in names[:number]:
            raise UsageError(
                f"{runs[names.index(name)]} and {runs[number]} are both called {name!r}",
                "give each its own --name" if given else "give each run once",
            )
    return names


def _shortest(paths: list[Path]) -> list[str]:
    names = []
    for path in paths:
        others = [other for other in paths if other != path]
        depth = 1
        while depth < len(path.parts) and any(
            _tail(o, depth) == _tail(path, depth) for o in others
        ):
            depth += 1
        names.append(_tail(path, depth))
    return names


def _tail(path: Path, depth: int) -> str:
    return Path(*path.parts[-depth:]).as_posix()


def _model_digest(folder: Path) -> str:
    from tpactl.bases.identity import fingerprint

    return fingerprint(folder).digest
