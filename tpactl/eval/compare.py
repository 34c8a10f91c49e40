"""``eval``: the base and any number of trained systems on the same audio, to one report.

Reads a prepared data set, the base, adapters and models; writes ``report.json``,
``utterances.jsonl`` and ``report.md`` into one folder that appears whole.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpactl import __version__
from tpactl.errors import BaseError, UsageError
from tpactl.eval.hear import Heard, hear
from tpactl.eval.measure import Measure, Scores
from tpactl.eval.report import check_place, write
from tpactl.eval.systems import BASE_NAME, System
from tpactl.eval.testset import TestSet, read_test_set
from tpactl.formats.identity import differences
from tpactl.formats.progress import Progress
from tpactl.formats.report import Normaliser, Report, SystemResult
from tpactl.scoring.normalise import DEFAULT, get_normaliser

if TYPE_CHECKING:
    from tpactl.bases.base import Base


def compare(
    data: Path,
    split: str,
    base_ref: str,
    systems: Sequence[System] = (),
    out: Path | None = None,
    *,
    normaliser: str = DEFAULT,
    device: str = "auto",
    force: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Return the figures of the base and of each system on one split.

    Args:
        data: a prepared data set.
        split: which of its splits, usually ``test``.
        base_ref: starter, a model directory, or HUB_ID[@REVISION]; it is loaded once.
        systems: what to set beside the base; names as ``systems.labels`` makes them.
        out: a folder for the report; ``None`` writes nothing.
        normaliser: by which rules texts are made comparable.
        device: auto, cpu, cuda, ...
        force: replace an earlier report in ``out``.
        on_progress: called with utterances done.

    Raises:
        UsageError: no such normaliser or device, or two systems of one name.
        InputError: the data set lacks the split or audio, or ``out`` holds something.
        BaseError: a system was trained on another base.
        IntegrityError: data set or adapter changed since they were written.
    """
    rules = get_normaliser(normaliser)
    _check_names(systems)
    if out is not None:
        check_place(out, force=force)
    test_set = read_test_set(data, split)
    measure = Measure(test_set, rules)

    heard, base_digest, used_device = _hear_all(test_set, base_ref, systems, device, on_progress)
    scores = {name: measure.score(texts.texts) for name, texts in heard.items()}
    duration_s = sum(test_set.durations_s)
    origins = [_origin_of_base(base_ref, base_digest), *map(_origin, systems)]
    named = {speaker for speaker in test_set.speakers if speaker is not None}
    report = Report(
        tpactl_version=__version__,
        data_path=str(data.resolve()),
        data_digest=test_set.data.card.digest,
        split=split,
        utterances=len(test_set.utterances),
        speakers=len(named) or None,
        duration_s=duration_s,
        empty_references=measure.empty_references,
        normaliser=Normaliser(name=rules.name, version=rules.version),
        interval=measure.interval,
        base_ref=base_ref,
        base_digest=base_digest,
        systems=[
            _result(scores[origin["name"]], heard[origin["name"]], duration_s, **origin)
            for origin in origins
        ],
        leaks=[leak for system in systems if (leak := test_set.shared_with(system))],
        device=used_device,
    )
    if out is not None:
        rows = (row for name, score in scores.items() for row in score.utterances(name))
        write(report, rows, out, force=force)
    return report


def _check_names(systems: Sequence[System]) -> None:
    sources = {BASE_NAME: "the base"}
    for system in systems:
        if system.name in sources:
            raise UsageError(
                f"{sources[system.name]} and {system.source} are both called {system.name!r}",
                "give each system once; runs can be called otherwise with --name",
            )
        sources[system.name] = system.source


def _hear_all(
    test_set: TestSet,
    base_ref: str,
    systems: Sequence[System],
    device: str,
    on_progress: Progress | None,
) -> tuple[dict[str, Heard], str, str]:
    """Return what each system heard, in the order base first; the base's digest; the device."""
    from tpactl.adapters.store import load
    from tpactl.bases.devices import choose
    from tpactl.bases.load import load_base

    models = [system for system in systems if system.kind == "full"]
    count = len(test_set.utterances)
    done = 0

    def advance(utterances: int) -> None:
        nonlocal done
        done += utterances
        if on_progress is not None:
            on_progress("recognise", done, count * (1 + len(models)))

    advance(0)
    chosen = choose(device)
    base = load_base(base_ref, device=chosen)
    _check_bases(base, systems)
    digest = base.identity.digest
    adapters = {
        system.name: load(base, system.folder, name=system.name)
        for system in systems
        if system.kind != "full"
    }
    heard = hear(base, {BASE_NAME: None, **adapters}, test_set, on_batch=advance)
    # Each fine-tuned model is as large as the base: never hold two.
    del base, adapters
    for system in models:
        gc.collect()
        model = load_base(str(system.folder), device=chosen)
        heard |= hear(model, {system.name: None}, test_set, on_batch=advance)
        del model
    return heard, digest, chosen


def _check_bases(base: Base, systems: Sequence[System]) -> None:
    """Raise where any system was trained on another base, before anything is recognised."""
    strangers = [system for system in systems if system.base_digest != base.identity.digest]
    if not strangers:
        return
    first = strangers[0]
    details = []
    for system in strangers:
        lines = [f"trained on {system.base_ref} ({system.base_digest[:19]})"]
        if system.base_identity is not None:
            lines += differences(system.base_identity, base.identity)
        else:
            lines += _differences_where_found(system, base)
        details += [f"{system.name}: {line}" for line in lines]
    raise BaseError(
        f"{', '.join(system.name for system in strangers)}: trained on another base than "
        f"{base.ref} ({base.identity.digest[:19]})",
        f"give the base of the training: --base {first.base_ref}, or leave systems of other bases "
        "to a report of their own",
        details,
    )


def _differences_where_found(system: System, base: Base) -> list[str]:
    """Return what differs, where the run's base still lies where it lay; a run holds its digest."""
    from tpactl.bases.identity import fingerprint
    from tpactl.bases.load import resolve
    from tpactl.errors import TpactlError

    if not Path(system.base_ref).is_dir():
        return []
    try:
        expected = fingerprint(resolve(system.base_ref))
    except TpactlError:
        return []
    return differences(expected, base.identity) if expected.digest == system.base_digest else []


def _result(score: Scores, heard: Heard, duration_s: float, **origin: Any) -> SystemResult:
    return SystemResult(
        wer=score.wer,
        cer=score.cer,
        raw_wer=score.raw_wer,
        real_time_factor=heard.seconds / duration_s,
        seconds=heard.seconds,
        **origin,
    )


def _origin_of_base(ref: str, digest: str) -> dict[str, Any]:
    return {
        "name": BASE_NAME,
        "kind": "base",
        "source": ref,
        "digest": digest,
        "trained_parameters": None,
        "size_bytes": None,
        "train_seconds": None,
        "peak_memory_bytes": None,
    }


def _origin(system: System) -> dict[str, Any]:
    return {
        "name": system.name,
        "kind": system.kind,
        "source": system.source,
        "digest": system.digest,
        "trained_parameters": system.trained_parameters,
        "size_bytes": system.size_bytes,
        "train_seconds": system.train_seconds,
        "peak_memory_bytes": system.peak_memory_bytes,
    }
