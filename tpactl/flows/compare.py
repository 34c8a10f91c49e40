"""Evaluates runs and packages together: opens the packages, names everything, hands it to eval."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tpactl.errors import BaseError, UsageError
from tpactl.eval import compare as room
from tpactl.eval.systems import System, TrainingContent, labels, system_of_run
from tpactl.formats.report import Report
from tpactl.scoring.normalise import DEFAULT


def compare(
    data: Path,
    split: str,
    *,
    base_ref: str | None = None,
    runs: Sequence[Path] = (),
    packages: Sequence[Path] = (),
    names: Sequence[str] = (),
    out: Path | None = None,
    normaliser: str = DEFAULT,
    device: str = "auto",
    force: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Return the report of the base, the runs and the packages on one split.

    Args:
        data: a prepared data set.
        split: which of its splits.
        base_ref: ``None`` takes the base of the first run or package.
        runs: folders of ``tpactl train``, of any method.
        packages: ``.tpa`` files; each is checked whole before anything is loaded.
        names: labels of the runs, in their order; empty takes their folders' names. A package is
            called by its own name and version.
        out: a folder for the report.
        normaliser: by which rules texts are made comparable.
        device: auto, cpu, cuda, ...
        force: replace an earlier report in ``out``.
        on_progress: called with (stage, done, total).

    Raises:
        UsageError: no base is named anywhere, or names do not fit.
        InputError, BaseError, IntegrityError: as ``tpactl.eval.compare.compare`` and
            ``tpactl.package.read.open_package``.
    """
    with _systems(runs, packages, labels(runs, names)) as systems:
        return room.compare(
            data,
            split,
            _default_base(systems) if base_ref is None else base_ref,
            systems,
            out,
            normaliser=normaliser,
            device=device,
            force=force,
            on_progress=on_progress,
        )


def _default_base(systems: Sequence[System]) -> str:
    """Return the base of the first system; a package names it without its maker's folders."""
    if not systems:
        raise UsageError(
            "no base to evaluate", "give --base starter, or --run RUN or --package FILE"
        )
    first = systems[0]
    ref = first.base_ref
    is_hub_id = ref.count("/") == 1 and not ref.startswith((".", "/", "~"))
    if ref != "starter" and not is_hub_id and not Path(ref).is_dir():
        raise BaseError(
            f"{first.name} was trained on a base {ref!r} that is not here",
            "give its directory with --base",
        )
    return ref


@contextmanager
def _systems(
    runs: Sequence[Path], packages: Sequence[Path], names: Sequence[str]
) -> Iterator[list[System]]:
    """Yield the systems; the adapters of packages lie in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tpactl-") as scratch:
        systems = [system_of_run(run, name) for run, name in zip(runs, names, strict=True)]
        for number, file in enumerate(packages):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            systems.append(_system_of_package(file, folder))
        yield systems


def _system_of_package(file: Path, folder: Path) -> System:
    from tpactl.package.read import open_package

    package = open_package(file)
    record, provenance = package.record, package.record.provenance
    return System(
        name=f"{record.name}@{record.version}",
        kind="package",
        source=str(file),
        folder=package.extract(folder),
        digest=package.digest,
        base_ref=record.base_ref,
        base_digest=record.base.digest,
        base_identity=record.base,
        trained_parameters=provenance.trained_parameters,
        size_bytes=package.size_bytes,
        train_seconds=provenance.train_seconds,
        peak_memory_bytes=None,
        training=TrainingContent(
            frozenset(provenance.train_speakers),
            frozenset(provenance.train_text_digests),
            frozenset(provenance.train_audio_digests),
        ),
    )
