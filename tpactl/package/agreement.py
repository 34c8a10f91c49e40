"""Do the parts speak of one adapter? Asked when a package is made and whenever one is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tpactl.errors import InputError, IntegrityError
from tpactl.formats.adapter import CONFIG_FILE, WEIGHTS_FILE, AdapterConfig
from tpactl.formats.decoding import BeamSearch
from tpactl.formats.gate import GateRecord, read_gate
from tpactl.formats.package import PackageRecord
from tpactl.formats.report import Report, read_report
from tpactl.formats.run import RunRecord
from tpactl.package.names import portable
from tpactl.package.strict import GET_IT_AGAIN
from tpactl.package.tensors import Tensor

T = TypeVar("T", bound=Any)


def check_adapter(config: AdapterConfig, tensors: list[Tensor], record: PackageRecord) -> None:
    """Raise where configuration, tensors and record do not describe one adapter.

    Raises:
        IntegrityError: with every contradiction.
    """
    faults = []
    if config.base_model_digest != record.base.digest:
        faults.append("base_model_digest is not the base of tpactl.json")
    if config.num_parameters != record.provenance.trained_parameters:
        faults.append(
            f"num_parameters is {config.num_parameters}; "
            f"tpactl.json says {record.provenance.trained_parameters}"
        )
    total = sum(tensor.num_elements for tensor in tensors)
    if total != config.num_parameters:
        faults.append(f"num_parameters is {config.num_parameters}; the tensors hold {total}")
    modules = {f"{module}." for module in (*config.target_modules, *config.modules_to_save)}
    used = {m for m in modules for tensor in tensors if tensor.name.startswith(m)}
    faults += [f"no tensor for the module {module[:-1]}" for module in sorted(modules - used)]
    faults += [
        f"tensor {tensor.name!r} belongs to no module it names"
        for tensor in tensors
        if not any(tensor.name.startswith(module) for module in used)
    ]
    faults += [
        f"tensor {tensor.name!r} has dtype {tensor.dtype}"
        for tensor in tensors
        if tensor.dtype not in ("F32", "F16", "BF16")
    ]
    if faults:
        raise IntegrityError(
            f"{CONFIG_FILE} and {WEIGHTS_FILE} do not belong together", GET_IT_AGAIN, faults[:20]
        )


def measured(report: Report, weights_digest: str) -> bool:
    """Return whether ``report`` holds a system with exactly these adapter weights."""
    return any(system.digest == weights_digest for system in report.systems)


def read_evaluation(folder: Path, record: RunRecord, weights_digest: str) -> Report:
    """Return the report in ``folder`` without this machine's paths.

    Raises:
        InputError: no report is there, or it measured another adapter or base.
    """
    report = read_report(folder)
    faults = []
    if report.base_digest != record.base_digest:
        faults.append(
            f"base: the run's is {record.base_digest[:19]}, measured was {report.base_digest[:19]}"
        )
    if not measured(report, weights_digest):
        others = ", ".join(f"{s.name} ({s.digest[:19]})" for s in report.systems)
        faults.append(f"adapter: the run's is {weights_digest[:19]}, measured were {others}")
    if faults:
        raise InputError(
            f"{folder} is not the evaluation of this run",
            "evaluate it: tpactl eval --data DATA --split test --run RUN --out DIR",
            faults,
        )
    return msgspec.structs.replace(
        report,
        data_path=portable(report.data_path),
        base_ref=portable(report.base_ref),
        systems=[
            msgspec.structs.replace(system, source=portable(system.source))
            for system in report.systems
        ],
        general=_portable_path(report.general, "data_path"),
        glossary=_portable_path(report.glossary, "path"),
        beam=_portable_beam(report.beam),
    )


def _portable_beam(beam: BeamSearch | None) -> BeamSearch | None:
    if beam is None:
        return None
    return msgspec.structs.replace(
        beam,
        lm=None if beam.lm is None else portable(beam.lm),
        words=None if beam.words is None else portable(beam.words),
    )


def _portable_path(record: T, key: str) -> T:
    if record is None:
        return record
    return msgspec.structs.replace(record, **{key: portable(getattr(record, key))})


def read_decision(folder: Path, weights_digest: str) -> GateRecord | None:
    """Return the gate's decision on the report in ``folder``; ``None`` where no gate judged it.

    Raises:
        InputError: it is damaged, or judged another report or another adapter.
    """
    decision = read_gate(folder)
    if decision is not None and decision.system.digest != weights_digest:
        raise InputError(
            f"{folder} holds the gate's decision on {decision.system.name} "
            f"({decision.system.digest[:19]}), not on this run ({weights_digest[:19]})",
            f"judge this run: tpactl gate --report {folder} --policy policy.yaml --system NAME",
        )
    return decision


def check_decision(decision: GateRecord, evaluation: Report | None, weights_digest: str) -> None:
    """Raise where the decision in a package is not about its evaluation and its adapter.

    Raises:
        IntegrityError: with every contradiction.
    """
    faults = []
    if decision.system.digest != weights_digest:
        faults.append("it judged another adapter")
    if evaluation is None:
        faults.append("there is no evaluation that it could have judged")
    elif (decision.data_digest, decision.base_digest) != (
        evaluation.data_digest,
        evaluation.base_digest,
    ):
        faults.append("it judged another evaluation")
    if decision.passed == bool(decision.failed):
        faults.append("its decision is not what its rules say")
    if faults:
        raise IntegrityError(
            "gate.json does not belong to the rest of the package", GET_IT_AGAIN, faults
        )
