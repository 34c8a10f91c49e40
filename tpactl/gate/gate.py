"""``gate``: does the judged system meet the policy?

Reads a report's folder and a policy; writes ``gate.json`` into the folder.
"""

from __future__ import annotations

from pathlib import Path

from tpactl import __version__
from tpactl.errors import InputError, IntegrityError, UsageError
from tpactl.formats.files import read_jsonl, write_json
from tpactl.formats.gate import GATE_FILE, GateRecord, JudgedSystem, input_digests
from tpactl.formats.report import Rate, Report, SystemResult, UtteranceResult, read_report
from tpactl.gate.policy import read_policy
from tpactl.gate.rules import judge


def gate(report: Path, policy: Path, *, system: str | None = None) -> GateRecord:
    """Judge a report by a policy and write the decision beside it.

    Args:
        report: the folder that ``tpactl eval --out`` wrote.
        policy: a YAML file of ``formats.gate.Policy``.
        system: the one to judge; ``None`` takes the only adapter that is not the incumbent, decoded
            greedily.

    Raises:
        UsageError: the policy cannot be used, or it is not clear which system is meant.
        InputError: no report is there, or it is damaged.
        IntegrityError: its figures are not those of its utterances.
        MachineError: the decision cannot be written.
    """
    used = read_policy(policy)
    inputs = input_digests(report)
    measured = read_report(report)
    judged = _judged(measured, system)
    _check_counts(report, measured, judged)
    if input_digests(report) != inputs:
        raise InputError(f"{report} changed while it was judged", "judge it again")
    rules = judge(measured, judged, used.content)
    record = GateRecord(
        tpactl_version=__version__,
        passed=all(result.passed for result in rules),
        system=JudgedSystem(name=judged.name, kind=judged.kind, digest=judged.digest),
        rules=rules,
        policy=used,
        inputs=inputs,
        data_digest=measured.data_digest,
        base_digest=measured.base_digest,
    )
    write_json(report / GATE_FILE, record)
    return record


def _judged(report: Report, name: str | None) -> SystemResult:
    if name is not None:
        for system in report.systems:
            if system.name == name:
                return system
        names = ", ".join(system.name for system in report.systems)
        raise UsageError(f"the report has no system {name!r}", f"choose --system from: {names}")
    adapters = [
        system
        for system in report.systems
        if system.kind in ("run", "package")
        and system.name != report.incumbent
        and system.decoding == "greedy"
    ]
    if len(adapters) == 1:
        return adapters[0]
    if not adapters:
        raise UsageError(
            "the report has no adapter to judge",
            "evaluate one with tpactl eval --run RUN, or name another system with --system",
        )
    names = ", ".join(system.name for system in adapters)
    raise UsageError(
        f"the report has {len(adapters)} adapters: {names}", "say which one with --system NAME"
    )


def _check_counts(folder: Path, report: Report, judged: SystemResult) -> None:
    """Raise where the judged rates are not the sums of the utterances beside them."""
    base = next((s for s in report.systems if s.kind == "base"), judged)
    systems = {system.name: system for system in (judged, base)}
    words = {name: [0, 0, 0, 0] for name in systems}
    characters: dict[str, list[int]] = {name: [0, 0] for name in systems}
    has_characters = True
    for row in read_jsonl(folder / "utterances.jsonl", UtteranceResult):
        if row.system not in systems:
            continue
        counts = (row.substitutions, row.deletions, row.insertions, row.hits)
        words[row.system] = [a + b for a, b in zip(words[row.system], counts, strict=True)]
        if row.character_errors is None or row.character_reference_length is None:
            has_characters = False  # a report of version 1
        else:
            characters[row.system][0] += row.character_errors
            characters[row.system][1] += row.character_reference_length
    faults = []
    for name, system in systems.items():
        faults += _differences(f"{name}, words", system.wer, words[name], _four(system.wer))
        if has_characters:
            stated = [_errors(system.cer), system.cer.reference_length]
            faults += _differences(f"{name}, characters", system.cer, characters[name], stated)
    if faults:
        raise IntegrityError(
            f"{folder}: report.json is not what its utterances say",
            "evaluate again; do not release on this report",
            faults,
        )


def _differences(what: str, rate: Rate, summed: list[int], stated: list[int]) -> list[str]:
    if summed != stated:
        return [f"{what}: {stated} in report.json, the utterances add up to {summed}"]
    expected = _errors(rate) / max(1, rate.reference_length)
    if abs(rate.rate - expected) > 1e-9:
        return [f"{what}: a rate of {rate.rate:g} in report.json, its counts make {expected:g}"]
    return []


def _four(rate: Rate) -> list[int]:
    return [rate.substitutions, rate.deletions, rate.insertions, rate.hits]


def _errors(rate: Rate) -> int:
    return rate.substitutions + rate.deletions + rate.insertions
