"""Evaluates runs and packages together: opens the packages, names everything, hands it to eval."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from tpactl.errors import BaseError, UsageError
from tpactl.eval import compare as room
from tpactl.eval.costs import read_prices
from tpactl.eval.page.page import write_page
from tpactl.eval.page.words import Words
from tpactl.eval.plan import Plan
from tpactl.eval.systems import System, TrainingContent, labels, system_of_run
from tpactl.flows.packages import package_files
from tpactl.formats.report import Prices, Report


def compare(
    data: Path,
    split: str,
    *,
    base_ref: str | None = None,
    runs: Sequence[Path] = (),
    packages: Sequence[Path] = (),
    names: Sequence[str] = (),
    out: Path | None = None,
    incumbent: Path | None = None,
    plan: Plan = Plan(),  # noqa: B008  frozen
    device: str = "auto",
    language: str = "en",
    audio: bool = True,
    force: bool = False,
    resume: bool = False,
    strict: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Return the report of the base, the runs and the packages on one split.

    Args:
        data: a prepared data set.
        split: which of its splits.
        base_ref: ``None`` takes the base of the first run or package.
        runs: folders of ``tpactl train``, of any method.
        packages: ``.tpa`` files, or folders of such; each is checked whole before anything is
            loaded.
        names: labels of the runs, in their order; empty takes their folders' names. A package is
            called by its own name and version.
        out: a folder for the report.
        incumbent: the run or package that is in use today; it may be among the others.
        plan: what else is measured, and by which rules.
        device: auto, cpu, cuda, ...
        language: of ``report.html``: en or ja.
        audio: whether ``report.html`` has players for the worst utterances.
        force: replace an earlier report in ``out``.
        resume: go on where an evaluation into ``out`` was stopped.
        strict: refuse a test that shares audio, texts or speakers with a system's training.
        on_progress: called with (stage, done, total).

    Raises:
        UsageError: no base is named anywhere, or names do not fit.
        InputError, BaseError, IntegrityError: as ``tpactl.eval.compare.compare`` and
            ``tpactl.package.read.open_package``.
    """
    Words(language)  # an unknown one is refused before the work, not after it
    packages = package_files(packages)
    runs, packages, names = _with_incumbent(runs, packages, names, incumbent)
    with _systems(runs, packages, names) as systems:
        report = room.compare(
            data,
            split,
            _default_base(systems) if base_ref is None else base_ref,
            systems,
            out,
            plan=replace(plan, incumbent=_name_of(systems, incumbent)),
            device=device,
            force=force,
            resume=resume,
            strict=strict,
            on_progress=on_progress,
        )
    if out is not None:
        write_page(out, language=language, audio=audio)
    return report


def prices_of(file: Path | None, **given: float | str | None) -> Prices:
    """Return the prices of ``file``, overridden by those given.

    Raises:
        InputError: the file holds no prices.
    """
    prices = Prices() if file is None else read_prices(file)
    known = {key: value for key, value in given.items() if value is not None}
    return msgspec.structs.replace(prices, **known)


def _with_incumbent(
    runs: Sequence[Path], packages: Sequence[Path], names: Sequence[str], incumbent: Path | None
) -> tuple[list[Path], list[Path], list[str]]:
    """Return runs, packages and the runs' names, the incumbent among them."""
    given = [path.resolve() for path in (*runs, *packages)]
    if incumbent is None or incumbent.resolve() in given:
        return list(runs), list(packages), labels(runs, names)
    if not incumbent.is_dir():
        return list(runs), [*packages, incumbent], labels(runs, names)
    if not names:
        return [*runs, incumbent], list(packages), labels([*runs, incumbent])
    own = "incumbent" if incumbent.name in names else incumbent.name
    return [*runs, incumbent], list(packages), [*labels(runs, names), own]


def _name_of(systems: Sequence[System], incumbent: Path | None) -> str | None:
    if incumbent is None:
        return None
    place = incumbent.resolve()
    return next(system.name for system in systems if Path(system.source).resolve() == place)


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
