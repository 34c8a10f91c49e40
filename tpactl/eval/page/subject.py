"""Which system the page is about, and its figures beside those of the others."""

from __future__ import annotations

from dataclasses import dataclass

from tpactl.errors import UsageError
from tpactl.formats.report import (
    Comparison,
    Cost,
    GeneralResult,
    Rate,
    Report,
    SystemResult,
    rate_of,
)


@dataclass(frozen=True)
class Subject:
    """A report, read from the side of one system.

    Attributes:
        system: the one the page is about: an adapter, or what there is instead.
        base: the unchanged base.
    """

    report: Report
    system: SystemResult
    base: SystemResult

    @property
    def is_base(self) -> bool:
        """Whether nothing but the base was measured."""
        return self.system is self.base

    def rate(self, system: SystemResult) -> Rate:
        """Return the error rate by which the report ranks."""
        return rate_of(system, self.report.metric)

    def named(self, name: str | None) -> SystemResult | None:
        """Return the system called ``name``; ``None`` where there is none."""
        return next((system for system in self.report.systems if system.name == name), None)

    def against(self, role: str) -> Comparison | None:
        """Return the subject's comparison with base, incumbent or full fine-tune."""
        return next(
            (
                made
                for made in self.report.comparisons
                if made.system == self.system.name and made.role == role
            ),
            None,
        )

    @property
    def cost(self) -> Cost | None:
        """Its entry in the report's costs."""
        costs = self.report.costs.systems if self.report.costs else []
        return next((cost for cost in costs if cost.system == self.system.name), None)

    @property
    def general(self) -> GeneralResult | None:
        """Its result on the general set."""
        results = self.report.general.results if self.report.general else []
        return next((result for result in results if result.system == self.system.name), None)

    def style(self, name: str) -> int:
        """Return the number of the system's colour and mark: base 0, subject 1, then the rest."""
        if name == self.base.name:
            return 0
        if name == self.system.name:
            return 1
        others = [
            system.name for system in self.report.systems if system not in (self.base, self.system)
        ]
        return 2 + others.index(name) % 6 if name in others else 2


def subject_of(report: Report, name: str | None = None) -> Subject:
    """Return the report from the side of ``name``.

    Args:
        report: any report.
        name: a system; ``None`` takes the adapter with the fewest errors that is not the
            incumbent, else the full fine-tune, else the base; each decoded greedily, because a
            package holds no language model.

    Raises:
        UsageError: no system is called so.
    """
    systems = report.systems
    base = next((system for system in systems if system.kind == "base"), systems[0])
    if name is not None:
        chosen = next((system for system in systems if system.name == name), None)
        if chosen is None:
            names = ", ".join(system.name for system in systems)
            raise UsageError(f"the report has no system {name!r}", f"choose one of: {names}")
        return Subject(report, chosen, base)
    greedy = [system for system in systems if system.decoding == "greedy"]
    adapters = [system for system in greedy if system.kind in ("run", "package", "departments")]
    new = [system for system in adapters if system.name != report.incumbent]
    full = [system for system in greedy if system.kind == "full"]
    candidates = new or adapters or full or [base]
    best = min(candidates, key=lambda system: rate_of(system, report.metric).rate)
    return Subject(report, best, base)
