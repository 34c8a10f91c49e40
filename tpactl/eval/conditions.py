"""Which audio every system hears: the test set, as it is and disturbed, and the general set."""

from __future__ import annotations

from collections.abc import Sequence

from tpactl.eval.hear import Condition
from tpactl.eval.plan import Plan
from tpactl.eval.stress import disturbances
from tpactl.eval.testset import TestSet

TEST = "test"
GENERAL = "general"
SINGLE = "single"


def conditions(test_set: TestSet, general: TestSet | None, plan: Plan) -> list[Condition]:
    """Return what is heard, in order."""
    everything = range(len(test_set.utterances))
    found = [Condition(TEST, test_set, everything, with_snr="snr" in plan.slice_by)]
    if plan.single:
        found.append(Condition(SINGLE, test_set, _spread(test_set, plan.single), one_by_one=True))
    if general is not None:
        found.append(Condition(GENERAL, general, range(len(general.utterances))))
    if plan.stress:
        found += [
            Condition(disturbance.label, test_set, everything, disturb=disturbance)
            for disturbance in disturbances()
        ]
    return found


def _spread(test_set: TestSet, count: int) -> Sequence[int]:
    """Return ``count`` utterances, evenly from the shortest to the longest."""
    order = sorted(range(len(test_set.utterances)), key=lambda i: test_set.durations_s[i])
    count = min(count, len(order))
    return [order[(2 * place + 1) * len(order) // (2 * count)] for place in range(count)]
