"""When a search ends, and a budget as one writes it: ``90s``, ``20m``, ``1.5h``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tpactl.errors import UsageError

_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Limits:
    """When a search ends; at least one is set."""

    budget_s: float | None = None
    """Seconds, over all processes that continue it. The default is trained to its end anyway."""
    trials: int | None = None
    """Configurations, the default among them."""


def seconds_of(budget: str) -> float:
    """Return the seconds of ``budget``.

    Raises:
        UsageError: it is no positive number with a unit.

    >>> seconds_of("20m"), seconds_of("1.5h"), seconds_of("90s")
    (1200.0, 5400.0, 90.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", budget.strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if not seconds:
        raise UsageError(
            f"--budget {budget} is no duration: expected a number above 0 with s, m or h",
            "give it as 90s, 20m or 1h",
        )
    return seconds
