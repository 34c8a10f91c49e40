"""Every rule of a policy: what it measures in a report, and when that passes.

A figure that the report lacks fails its rule and says which flag of ``tpactl eval`` measures it:
what nobody looked at cannot be released on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from tpactl.formats.gate import Improvement, Policy, RuleResult
from tpactl.formats.report import (
    Rate,
    Report,
    SystemResult,
    rate_of,
)

Unit = Literal["hours", "speakers", "share", "points", "megabytes", "factor", "utterances"]
Rule = Callable[[Report, SystemResult, Any], list[RuleResult]]


def judge(report: Report, system: SystemResult, policy: Policy) -> list[RuleResult]:
    """Return the result of every rule that the policy asks, in the order of ``RULES``."""
    results: list[RuleResult] = []
    for name, rule in RULES.items():
        limit = getattr(policy, name)
        if limit is not None:
            results += rule(report, system, limit)
    return results


def _test_hours(report: Report, system: SystemResult, limit: float) -> list[RuleResult]:
    return [_least("min_test_hours", report.duration_s / 3600, limit, "hours")]


def _test_speakers(report: Report, system: SystemResult, limit: int) -> list[RuleResult]:
    detail = "" if report.speakers is not None else "the test data name no speakers"
    return [_least("min_test_speakers", report.speakers, limit, "speakers", detail)]


def _error_rate(report: Report, system: SystemResult, limit: float) -> list[RuleResult]:
    rate = _rate(report, system)
    return [_most("max_error_rate", rate.rate, limit, "share", report.metric.upper())]


def _over_base(report: Report, system: SystemResult, limit: Improvement) -> list[RuleResult]:
    base = next((s for s in report.systems if s.kind == "base"), None)
    detail = "" if base is not None else "the report has no base"
    return _improvement("improvement_over_base", report, system, base, "base", limit, detail)


def _over_incumbent(report: Report, system: SystemResult, limit: Improvement) -> list[RuleResult]:
    incumbent = next((s for s in report.systems if s.name == report.incumbent), None)
    detail = "" if incumbent is not None else "measure it: tpactl eval --incumbent RUN|FILE"
    if incumbent is system:
        incumbent, detail = None, "it is the incumbent itself"
    return _improvement(
        "improvement_over_incumbent", report, system, incumbent, "incumbent", limit, detail
    )


def _improvement(
    rule: str,
    report: Report,
    system: SystemResult,
    other: SystemResult | None,
    role: str,
    limit: Improvement,
    missing: str,
) -> list[RuleResult]:
    relative = probability = None
    named = certain = missing
    if other is not None:
        mine, theirs = _rate(report, system).rate, _rate(report, other).rate
        relative = (theirs - mine) / theirs if theirs else None
        named = f"fewer errors than {other.name}"
        if relative is None:
            named = f"{other.name} makes no errors"
        pair = next(
            (
                made
                for made in report.comparisons
                if (made.system, made.against, made.role) == (system.name, other.name, role)
            ),
            None,
        )
        if pair is None:
            certain = "no paired test is in the report; evaluate again with this tpactl"
        elif pair.probability_of_improvement is None:
            certain = "too few speakers for a probability; test with five or more"
        else:
            probability = pair.probability_of_improvement
            certain = f"that it errs less than {other.name}"
    return [
        _least(f"{rule}.relative", relative, limit.relative, "share", named),
        _least(f"{rule}.probability", probability, limit.probability, "share", certain),
    ]


def _slice(report: Report, system: SystemResult, limit: float) -> list[RuleResult]:
    worst = next((w for w in report.worst_slices if w.system == system.name), None)
    if worst is None:
        detail = "measure it: tpactl eval --slice-by COLUMN"
        if report.slicings:
            detail = "no slice is large enough to count; test with more speech"
        return [_most("max_slice_error_rate", None, limit, "share", detail)]
    detail = f"{worst.column} = {worst.value}, {worst.utterances} utterances"
    return [_most("max_slice_error_rate", worst.rate.rate, limit, "share", detail)]


def _forgetting(report: Report, system: SystemResult, limit: float) -> list[RuleResult]:
    results = report.general.results if report.general else []
    found = next((result for result in results if result.system == system.name), None)
    if found is None:
        detail = "measure it: tpactl eval --general DATA"
        return [_most("max_forgetting", None, limit, "points", detail)]
    detail = "against the base on general speech"
    return [_most("max_forgetting", found.degradation, limit, "points", detail)]


def _gap_to_full(report: Report, system: SystemResult, limit: float) -> list[RuleResult]:
    full = next((s for s in report.systems if s.name == report.full), None)
    full = full or next((s for s in report.systems if s.kind == "full"), None)
    if full is None:
        detail = "measure it: tpactl eval --run FULL, a run of --method full"
        return [_most("max_gap_to_full", None, limit, "points", detail)]
    gap = _rate(report, system).rate - _rate(report, full).rate
    return [_most("max_gap_to_full", gap, limit, "points", f"against {full.name}")]


def _package_size(report: Report, system: SystemResult, limit: float) -> list[RuleResult]:
    size = None if system.size_bytes is None else system.size_bytes / 1e6
    return [_most("max_package_mb", size, limit, "megabytes", "to store beside the base")]


def _real_time_factor(report: Report, system: SystemResult, limit: float) -> list[RuleResult]:
    detail = f"batched, on {report.device}"
    return [_most("max_real_time_factor", system.real_time_factor, limit, "factor", detail)]


def _leaked(report: Report, system: SystemResult, limit: int) -> list[RuleResult]:
    leaked = sum(
        leak.utterances
        for leak in report.leaks
        if leak.system == system.name and leak.data == "test"
    )
    return [_most("max_leaked_utterances", leaked, limit, "utterances")]


RULES: dict[str, Rule] = {
    "min_test_hours": _test_hours,
    "min_test_speakers": _test_speakers,
    "max_error_rate": _error_rate,
    "improvement_over_base": _over_base,
    "improvement_over_incumbent": _over_incumbent,
    "max_slice_error_rate": _slice,
    "max_forgetting": _forgetting,
    "max_gap_to_full": _gap_to_full,
    "max_package_mb": _package_size,
    "max_real_time_factor": _real_time_factor,
    "max_leaked_utterances": _leaked,
}
"""By the policy's key."""


def _rate(report: Report, system: SystemResult) -> Rate:
    return rate_of(system, report.metric)


def _least(
    rule: str, measured: float | None, limit: float, unit: Unit, detail: str = ""
) -> RuleResult:
    passed = measured is not None and measured >= limit
    return RuleResult(
        rule=rule, passed=passed, measured=measured, limit=limit, bound="min", unit=unit,
        detail=detail,
    )  # fmt: skip


def _most(
    rule: str, measured: float | None, limit: float, unit: Unit, detail: str = ""
) -> RuleResult:
    passed = measured is not None and measured <= limit
    return RuleResult(
        rule=rule, passed=passed, measured=measured, limit=limit, bound="max", unit=unit,
        detail=detail,
    )  # fmt: skip
