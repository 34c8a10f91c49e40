"""The gate's decision, rule by rule."""

from __future__ import annotations

from tpactl.eval.page.sections.block import Block, Note, TitledTable
from tpactl.eval.page.words import Words
from tpactl.formats.gate import GateRecord, RuleResult


def gate(decision: GateRecord | None, t: Words) -> Block | None:
    """Return the rules of the policy with what was measured; ``None`` where no gate decided."""
    if decision is None:
        return None
    name, failed = decision.system.name, len(decision.failed)
    note = Note(t("gate_passed", system=name), "good")
    if failed:
        note = Note(t("gate_failed", system=name, n=failed), "bad")
    rows = [
        [
            t(f"gate_rule_{result.rule.replace('.', '_')}"),
            t("gate_pass" if result.passed else "gate_fail"),
            t("gate_unmeasured")
            if result.measured is None
            else _in_unit(result, result.measured, t),
            t(f"gate_{result.bound}", limit=_in_unit(result, result.limit, t)),
        ]
        for result in decision.rules
    ]
    columns = [t("gate_rule"), t("gate_result"), t("gate_measured"), t("gate_limit")]
    about = t("gate_about", file=decision.policy.file, digest=decision.policy.digest[:19])
    return Block("gate", t("gate"), [about], [note], tables=[TitledTable(columns, rows, 2)])


def _in_unit(result: RuleResult, value: float, t: Words) -> str:
    match result.unit:
        case "share":
            return t.percent(value)
        case "points":
            return t.points(value)
        case "hours":
            return t.duration(3600 * value)
        case "megabytes":
            return t.size(1e6 * value)
        case "factor":
            return f"{value:.3g}"
        case _:
            return f"{value:.0f}"
