"""Load the base once and let it, its adapters and then each fine-tuned model hear everything."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tpactl import __version__
from tpactl.errors import BaseError
from tpactl.eval.conditions import GENERAL, TEST
from tpactl.eval.departments import DEPARTMENTS, Departments
from tpactl.eval.hear import Condition, Hearing, hear, warm_up
from tpactl.eval.journal import Journal
from tpactl.eval.systems import BASE_NAME, System, beam_name
from tpactl.formats.decoding import BeamSearch
from tpactl.formats.evaluation import Evaluation
from tpactl.formats.identity import differences
from tpactl.formats.progress import Progress

if TYPE_CHECKING:
    from tpactl.adapters.adapter import Adapter
    from tpactl.bases.base import Base
    from tpactl.bases.beam import Beam, BeamDecoder


@dataclass(frozen=True)
class Listened:
    """What was heard under each condition, by the condition's name, and who the base was."""

    hearings: dict[str, Hearing]
    base_ref: str
    base_digest: str
    base_bytes: int
    base_parameters: int
    device: str
    journal: Journal
    beam: BeamSearch | None
    alone: dict[str, str]
    """Of departments: adapters that share no batch with others, each with the reason."""


def listen(
    conditions: Sequence[Condition],
    base_ref: str,
    systems: Sequence[System],
    out: Path | None,
    *,
    beam: BeamDecoder | None = None,
    adapter_column: str | None = None,
    owners: Sequence[str | None] = (),
    device: str,
    resume: bool,
    on_progress: Progress | None,
) -> Listened:
    """Return what every system heard under every condition, the base first.

    Args:
        conditions: the test set's own first.
        base_ref: starter, a model directory, or HUB_ID[@REVISION].
        systems: adapters on it, and fine-tuned models.
        out: the report's place, beside which the work is kept until it is whole.
        beam: searches every system's logits too.
        adapter_column: the systems are those of departments, and this names who hears what; then
            they are heard as one.
        owners: with it, the name of the system that hears each utterance; ``None`` is the base.
        device: auto, cpu, cuda, ...
        resume: go on where an earlier evaluation into ``out`` stopped.
        on_progress: called with utterances done.

    Raises:
        BaseError: a system was trained on another base.
        InputError: another evaluation was stopped at ``out``; a file cannot be decoded.
        IntegrityError: audio or an adapter changed since it was written.
    """
    from tpactl.adapters.store import load
    from tpactl.bases.devices import choose
    from tpactl.bases.load import load_base
    from tpactl.bases.side_by_side import twins
    from tpactl.eval.turns import Turns

    models = [system for system in systems if system.kind == "full"]
    utterances = sum(len(condition.indices) for condition in conditions)
    hearings = {condition.name: Hearing() for condition in conditions}
    done = 0

    def advance(heard: int) -> None:
        nonlocal done
        done += heard
        if on_progress is not None:
            on_progress("recognise", done, utterances * (1 + len(models)))

    advance(0)
    chosen = choose(device)
    base = load_base(base_ref, device=chosen)
    _check_bases(base, systems)
    search = None if beam is None else beam.on(base)
    evaluation = _evaluation(base, systems, conditions, chosen, search, adapter_column)
    journal = Journal(out, evaluation, resume=resume)
    alone: dict[str, str] = {}

    def all_on(base: Base) -> Turns:
        adapters = {
            system.name: load(base, system.folder, name=system.name)
            for system in systems
            if system.kind != "full" and (adapter_column is None or system.name in owners)
        }
        if adapter_column is None:
            return Turns(base, {BASE_NAME: None, **adapters}, search)
        departments = _departments(base, adapters, owners)
        alone.update({adapter.name: why for adapter, why in departments.together.alone.items()})
        return Turns(base, {BASE_NAME: None, DEPARTMENTS: departments}, search)

    def hear_all(workers: Sequence[Turns]) -> None:
        for turns in workers:
            warm_up(turns)
        for condition in conditions:
            hear(workers, condition, hearings[condition.name], journal, on_batch=advance)

    workers = [all_on(each) for each in twins(base)]
    hear_all(workers)
    listened = Listened(
        hearings=hearings,
        base_ref=base_ref,
        base_digest=base.identity.digest,
        base_bytes=sum(file.stat().st_size for file in base.path.rglob("*") if file.is_file()),
        base_parameters=base.num_parameters,
        device=chosen,
        journal=journal,
        beam=evaluation.beam,
        alone=alone,
    )
    order = [BASE_NAME, *(system.name for system in systems)]
    if adapter_column is not None:
        order = list(workers[0].systems)
    # Each fine-tuned model is as large as the base: never hold two.
    del base, workers
    for system in models:
        gc.collect()
        model = load_base(str(system.folder), device=chosen)
        search = None if beam is None else beam.on(model)
        workers = [Turns(each, {system.name: None}, search) for each in twins(model)]
        hear_all(workers)
        del model, workers
    if beam is not None:
        order = [name for system in order for name in (system, beam_name(system))]
    for hearing in hearings.values():
        hearing.systems = {name: hearing.systems[name] for name in order}
    return listened


def _departments(
    base: Base, adapters: Mapping[str, Adapter], owners: Sequence[str | None]
) -> Departments:
    from tpactl.adapters.together import Together

    together = Together(base, adapters.values())
    return Departments(together, [None if name is None else adapters[name] for name in owners])


def _evaluation(
    base: Base,
    systems: Sequence[System],
    conditions: Sequence[Condition],
    device: str,
    beam: Beam | None,
    adapter_column: str | None,
) -> Evaluation:
    by_name = {condition.name: condition for condition in conditions}
    test_set = by_name[TEST].test_set
    general = by_name[GENERAL].test_set if GENERAL in by_name else None
    return Evaluation(
        tpactl_version=__version__,
        data_digest=test_set.data.card.digest,
        split=test_set.split,
        general_digest=general.data.card.digest if general else None,
        general_split=general.split if general else None,
        base_digest=base.identity.digest,
        systems={system.name: system.digest for system in systems},
        conditions=[f"{c.name}: {len(c.indices)} utterances" for c in conditions],
        device=device,
        with_snr=by_name[TEST].with_snr,
        adapter_column=adapter_column,
        beam=None if beam is None else beam.record,
    )


def _check_bases(base: Base, systems: Sequence[System]) -> None:
    """Raise where any system was trained on another base, before anything is recognised."""
    strangers = [system for system in systems if system.base_digest != base.identity.digest]
    if not strangers:
        return
    from tpactl.bases.rightful import way_to_base

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
        f"{way_to_base(first.base_ref, first.base_digest)}; or leave systems of other bases "
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
        expected = fingerprint(resolve(system.base_ref, download=False))
    except TpactlError:
        return []
    return differences(expected, base.identity) if expected.digest == system.base_digest else []
