"""``eval``: the base and any number of trained systems on the same audio, to one report.

Reads prepared data sets, the base, adapters and models; writes ``report.json``,
``utterances.jsonl``, ``report.md`` and the exports into one folder that appears whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpactl import __version__
from tpactl.errors import UsageError
from tpactl.eval import leaks as leak_check
from tpactl.eval.comparisons import Role, comparisons
from tpactl.eval.conditions import GENERAL, SINGLE, TEST, conditions
from tpactl.eval.costs import check_prices, costs
from tpactl.eval.departments import DEPARTMENTS, owners
from tpactl.eval.forgetting import forgetting
from tpactl.eval.glossary import TermList, glossary, read_terms
from tpactl.eval.hear import Hearing
from tpactl.eval.listen import Listened, listen
from tpactl.eval.measure import Measure, Scores
from tpactl.eval.plan import Plan
from tpactl.eval.report import check_place, write
from tpactl.eval.slices import check_columns, slicings, worst_slices
from tpactl.eval.stress import SEED as STRESS_SEED
from tpactl.eval.stress import disturbances
from tpactl.eval.systems import BASE_NAME, System, beam_name
from tpactl.eval.testset import TestSet, read_test_set
from tpactl.formats.decoding import BeamSettings
from tpactl.formats.files import canonical_json, sha256_of
from tpactl.formats.progress import Progress
from tpactl.formats.report import (
    DepartmentAdapter,
    Departments,
    General,
    Glossary,
    Leak,
    Metric,
    Normaliser,
    Report,
    Stress,
    StressPoint,
    SystemResult,
)
from tpactl.scoring import normalise

if TYPE_CHECKING:
    from tpactl.bases.beam import BeamDecoder


def compare(
    data: Path,
    split: str,
    base_ref: str,
    systems: Sequence[System] = (),
    out: Path | None = None,
    *,
    plan: Plan = Plan(),  # noqa: B008  frozen
    device: str = "auto",
    force: bool = False,
    resume: bool = False,
    strict: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Return the figures of the base and of each system on one split.

    Args:
        data: a prepared data set.
        split: which of its splits, usually ``test``.
        base_ref: starter, a model directory, or HUB_ID[@REVISION]; it is loaded once.
        systems: what to set beside the base; names as ``systems.labels`` makes them.
        out: a folder for the report; ``None`` writes nothing.
        plan: what else is measured, and by which rules.
        device: auto, cpu, cuda, ...
        force: replace an earlier report in ``out``.
        resume: go on where an evaluation into ``out`` was stopped.
        strict: refuse a test that shares audio, texts or speakers with a system's training.
        on_progress: called with utterances done.

    Raises:
        UsageError: no such normaliser, device, column or incumbent; two systems of one name.
        InputError: a data set lacks the split or audio, ``out`` holds something, a file of rules,
            terms or prices is none, or a leak with ``strict``.
        BaseError: a system was trained on another base.
        IntegrityError: data set or adapter changed since they were written.
    """
    asked = _Asked.check(data, split, systems, out, plan, force=force, resume=resume)
    leaks = asked.leaks()
    if strict:
        leak_check.refuse(leaks)
    listened = listen(
        conditions(asked.test_set, asked.general, asked.plan),
        base_ref,
        systems,
        out,
        beam=asked.beam,
        adapter_column=plan.adapter_column,
        owners=asked.owners or (),
        device=device,
        resume=resume,
        on_progress=on_progress,
    )
    scores = asked.scores(asked.measure, listened.hearings[TEST])
    report = asked.report(listened, scores, leaks)
    if out is not None:
        write(report, scores, listened.hearings[TEST], out, force=force)
        listened.journal.close()
    return report


@dataclass(frozen=True)
class _Asked:
    """What was asked for, checked before a model is loaded."""

    plan: Plan
    systems: Sequence[System]
    test_set: TestSet
    general: TestSet | None
    measure: Measure
    metric: Metric
    terms: TermList | None
    beam: BeamDecoder | None
    owners: list[str | None] | None
    """The system that hears each utterance, where the systems are those of departments."""

    @classmethod
    def check(
        cls,
        data: Path,
        split: str,
        systems: Sequence[System],
        out: Path | None,
        plan: Plan,
        *,
        force: bool,
        resume: bool,
    ) -> _Asked:
        _check_names(systems, with_beam=plan.beam is not None)
        if plan.incumbent not in (None, *(system.name for system in systems)):
            raise UsageError(
                f"no system is called {plan.incumbent!r}", "name one of the systems as incumbent"
            )
        if resume and out is None:
            raise UsageError("--resume needs the report's place", "give --out as before")
        if plan.departments < 1 or plan.single < 0:
            raise UsageError(
                f"departments is {plan.departments}, utterances one by one {plan.single}",
                "give at least 1 department and no negative numbers",
            )
        if plan.adapter_column is not None and (plan.incumbent or plan.general):
            raise UsageError(
                "departments are heard as one system, each on its own utterances: there is no "
                "incumbent among them, and no general set that all of them hear",
                "leave out --incumbent and --general, or --adapter-column",
            )
        check_prices(plan.prices)
        if plan.normaliser is not None:
            normalise.get_normaliser(plan.normaliser)
        if out is not None:
            check_place(out, force=force)
        test_set = read_test_set(data, split)
        check_columns(test_set, plan.slice_by)
        general = None if plan.general is None else read_test_set(plan.general, plan.general_split)
        name = plan.normaliser or normalise.fitting(row.text for row in test_set.utterances)
        rules = normalise.get_normaliser(name)
        measure = Measure(test_set, rules)
        terms = None if plan.glossary is None else read_terms(plan.glossary, rules)
        metric = measure.metric if plan.metric == "auto" else plan.metric
        beam = None if plan.beam is None else _beam(plan.beam)
        heard_by = None
        if plan.adapter_column is not None:
            heard_by = owners(test_set, plan.adapter_column, systems)
            plan = replace(plan, slice_by=(plan.adapter_column, *plan.slice_by))
        return cls(plan, systems, test_set, general, measure, metric, terms, beam, heard_by)

    def leaks(self) -> list[Leak]:
        found = leak_check.leaks(self.test_set, self.systems, "test", self.owners)
        if self.general is not None:
            found += leak_check.leaks(self.general, self.systems, "general")
        return found

    def scores(self, measure: Measure, hearing: Hearing) -> dict[str, Scores]:
        count = len(measure.test_set.utterances)
        return {
            name: measure.score([heard.texts[index] for index in range(count)])
            for name, heard in hearing.systems.items()
        }

    def report(self, listened: Listened, scores: Mapping[str, Scores], leaks: list[Leak]) -> Report:
        test_set, measure, plan = self.test_set, self.measure, self.plan
        hearing = listened.hearings[TEST]
        searched = self._searched()
        results = [
            self._result(name, each, listened, searched.get(name)) for name, each in scores.items()
        ]
        against: dict[Role, str] = {"base": BASE_NAME}
        if plan.incumbent is not None:
            against["incumbent"] = plan.incumbent
        full = next((s.name for s in self.systems if s.kind == "full"), None)
        if full is not None:
            against["full"] = full
        parts = slicings(measure, scores, plan.slice_by, hearing.snr_db)
        single = listened.hearings.get(SINGLE)
        return Report(
            tpactl_version=__version__,
            data_path=str(test_set.data.folder.resolve()),
            data_digest=test_set.data.card.digest,
            split=test_set.split,
            utterances=len(test_set.utterances),
            speakers=test_set.speaker_count,
            duration_s=test_set.duration_s,
            empty_references=measure.empty_references,
            normaliser=Normaliser(name=measure.normaliser.name, version=measure.normaliser.version),
            interval=measure.interval,
            base_ref=listened.base_ref,
            base_digest=listened.base_digest,
            systems=results,
            leaks=leaks,
            device=listened.device,
            metric=self.metric,
            incumbent=plan.incumbent,
            full=full,
            comparisons=comparisons(scores, against, self.metric, searched),
            general=self._general(listened),
            slicings=parts,
            worst_slices=worst_slices(parts, self.metric),
            glossary=self._glossary(scores),
            stress=self._stress(listened),
            costs=costs(
                results,
                full,
                plan.prices,
                departments=plan.departments,
                base_bytes=listened.base_bytes,
                base_parameters=listened.base_parameters,
            ),
            timing_utterances=len(single.systems[BASE_NAME].texts) if single else None,
            beam=listened.beam,
            departments=self._departments(listened),
        )

    @property
    def names(self) -> list[str]:
        """Of what is heard beside the base."""
        return [DEPARTMENTS] if self.owners else [system.name for system in self.systems]

    def _departments(self, listened: Listened) -> Departments | None:
        if self.plan.adapter_column is None or self.owners is None:
            return None
        return Departments(
            column=self.plan.adapter_column,
            adapters=[
                DepartmentAdapter(
                    name=system.name,
                    source=system.source,
                    digest=system.digest,
                    utterances=self.owners.count(system.name),
                    alone=listened.alone.get(system.name),
                )
                for system in self.systems
            ],
            by_base=self.owners.count(None),
        )

    def _searched(self) -> dict[str, str]:
        """Return each system of beam search with the one it decodes."""
        if self.beam is None:
            return {}
        return {beam_name(name): name for name in (BASE_NAME, *self.names)}

    def _result(
        self, name: str, scores: Scores, listened: Listened, searched: str | None
    ) -> SystemResult:
        by_name = {system.name: system for system in self.systems}
        if (searched or name) == DEPARTMENTS and self.owners is not None:
            origin = _origin_of_departments(self.systems, self.plan.adapter_column)
        else:
            origin = _origin(by_name.get(searched or name), listened)
        if searched is not None and listened.beam is not None and listened.beam.size_bytes:
            origin["size_bytes"] = (origin["size_bytes"] or 0) + listened.beam.size_bytes
        heard = listened.hearings[TEST].systems[name]
        seconds = sum(heard.seconds.values())
        single = listened.hearings.get(SINGLE)
        return SystemResult(
            name=name,
            wer=scores.wer,
            cer=scores.cer,
            raw_wer=scores.raw_wer,
            raw_cer=scores.raw_cer,
            real_time_factor=seconds / self.test_set.duration_s,
            seconds=seconds,
            real_time_factor_single=(
                _factor(single.systems[name].seconds, self.test_set) if single else None
            ),
            inference_memory_bytes=heard.memory_bytes,
            decoding="greedy" if searched is None else "beam",
            **origin,
        )

    def _general(self, listened: Listened) -> General | None:
        if self.general is None:
            return None
        measure = Measure(self.general, self.measure.normaliser)
        scores = self.scores(measure, listened.hearings[GENERAL])
        return forgetting(measure, scores, BASE_NAME)

    def _glossary(self, scores: Mapping[str, Scores]) -> Glossary | None:
        if self.terms is None:
            return None
        return glossary(self.terms, self.measure, scores, self.metric)

    def _stress(self, listened: Listened) -> Stress | None:
        if not self.plan.stress:
            return None
        points = []
        for disturbance in disturbances():
            hearing = listened.hearings[disturbance.label]
            scores = self.scores(self.measure, hearing)
            points.append(
                StressPoint(
                    kind=disturbance.kind,
                    level=disturbance.level,
                    label=disturbance.label,
                    results=[each.rates(name) for name, each in scores.items()],
                )
            )
        return Stress(
            seed=STRESS_SEED,
            utterances=len(self.test_set.utterances),
            duration_s=self.test_set.duration_s,
            points=points,
        )


def _factor(seconds: Mapping[int, float], test_set: TestSet) -> float:
    return sum(seconds.values()) / sum(test_set.durations_s[index] for index in seconds)


def _beam(settings: BeamSettings) -> BeamDecoder:
    from tpactl.bases.beam import BeamDecoder

    return BeamDecoder(settings)


def _check_names(systems: Sequence[System], *, with_beam: bool) -> None:
    sources = {BASE_NAME: "the base"}
    if with_beam:
        sources[beam_name(BASE_NAME)] = "the base under beam search"
        sources |= {beam_name(s.name): f"{s.source} under beam search" for s in systems}
    for system in systems:
        if system.name in sources:
            raise UsageError(
                f"{sources[system.name]} and {system.source} are both called {system.name!r}",
                "give each system once; runs can be called otherwise with --name",
            )
        sources[system.name] = system.source


def _origin(system: System | None, listened: Listened) -> dict[str, Any]:
    if system is None:
        return {
            "kind": "base",
            "source": listened.base_ref,
            "digest": listened.base_digest,
            "trained_parameters": None,
            "size_bytes": None,
            "train_seconds": None,
            "peak_memory_bytes": None,
        }
    return {
        "kind": system.kind,
        "source": system.source,
        "digest": system.digest,
        "trained_parameters": system.trained_parameters,
        "size_bytes": system.size_bytes,
        "train_seconds": system.train_seconds,
        "peak_memory_bytes": system.peak_memory_bytes,
        "curve": list(system.curve),
    }


def _origin_of_departments(systems: Sequence[System], column: str | None) -> dict[str, Any]:
    memories = [system.peak_memory_bytes for system in systems]
    return {
        "kind": "departments",
        "source": f"column {column}",
        "digest": sha256_of(canonical_json({system.name: system.digest for system in systems})),
        "trained_parameters": sum(system.trained_parameters for system in systems),
        "size_bytes": sum(system.size_bytes for system in systems),
        "train_seconds": sum(system.train_seconds for system in systems),
        "peak_memory_bytes": None if None in memories else max(m for m in memories if m),
    }
