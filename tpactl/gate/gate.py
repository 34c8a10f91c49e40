"""``gate``: does the judged system meet the policy?

Reads a report's folder and a policy; writes ``gate.json`` into the folder.
"""

from __future__ import annotations

from pathlib import Path

from tpactl import __version__
from tpactl.errors import InputError, IntegrityError, UsageError
from tpactl.formats.files import read_jsonl, write_json
from tpactl.formats.gate import GATE_FILE, GateRecord, JudgedSystem, input_digests
from tpactl.formats.report import Report, SystemResult, UtteranceResult, read_report
from tpactl.gate.policy import read_policy
from tpactl.gate.rules import judge


def gate(report: Path, policy: Path, *, system: str | None = None) -> GateRecord:
    """Judge a report by a policy and write the decision beside it.

    Args:
        report: the folder that ``tpactl eval --out`` wrote.
        policy: a YAML file of ``formats.gate.Policy``.
        system: the one to judge; ``None`` takes the only adapter that is not the incumbent.

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
        if system.kind in ("run", "package") and system.name != report.incumbent
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
    sums = {system.name: [0, 0, 0, 0] for system in (judged, base)}
    for row in read_jsonl(folder / "utterances.jsonl", UtteranceResult):
        if row.system in sums:
            counts = (row.substitutions, row.deletions, row.insertions, row.hits)
            sums[row.system] = [a + b for a, b in zip(sums[row.system], counts, strict=True)]
    faults = []
    for system in {judged.name: judged, base.name: base}.values():
        wer = system.wer
        stated = [wer.substitutions, wer.deletions, wer.insertions, wer.hits]
        errors, words = sum(stated[:3]), wer.reference_length
        if sums[system.name] != stated:
            faults.append(
                f"{system.name}: substitutions, deletions, insertions, hits are "
                f"{stated} in report.json, {sums[system.name]} in utterances.jsonl"
            )
        elif abs(wer.rate - errors / max(1, words)) > 1e-9:
            faults.append(f"{system.name}: a WER of {wer.rate}, but {errors} errors in {words}")
    if faults:
        raise IntegrityError(
            f"{folder}: report.json is not what its utterances say",
            "evaluate again; do not release on this report",
            faults,
        )
