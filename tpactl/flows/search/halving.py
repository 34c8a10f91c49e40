"""Successive halving: which trial is trained further, and how far.

Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning" (ASHA),
arXiv:1810.05934, with one worker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tpactl.formats.search import DEFAULT, Trial

RUNGS = (0.2, 0.5, 1.0)
"""Shares of a whole training. The first lies behind the warm-up, before which learning rates cannot
be told apart."""

KEEP = 3
"""One of so many that reach a rung goes on to the next."""

FINALISTS = 2
"""So many beside the default are trained to their end, where time allows."""


def rungs_of(evaluations: int) -> list[int]:
    """Return after which measurements of a training trials are compared; the last is its end.

    >>> rungs_of(10), rungs_of(1)
    ([2, 5, 10], [1])
    """
    return sorted({math.ceil(share * evaluations - 1e-9) for share in RUNGS})


def promotable(trials: Sequence[Trial], num_rungs: int) -> Trial | None:
    """Return a waiting trial that is among the best ``1 / KEEP`` of its rung, the highest first."""
    for rung in reversed(range(num_rungs - 1)):
        there = _ranked([t for t in trials if len(t.scores) > rung], rung)
        for trial in there[: len(there) // KEEP]:
            if trial.state == "waiting" and len(trial.scores) == rung + 1:
                return trial
    return None


def to_finish(trials: Sequence[Trial]) -> list[Trial]:
    """Return the waiting trials, the one to finish first in front: highest rung, then score."""
    waiting = [trial for trial in trials if trial.state == "waiting"]
    return sorted(_ranked(waiting, -1), key=lambda trial: -len(trial.scores))


def best_finished(trials: Sequence[Trial]) -> Trial:
    """Return the best trial that was trained to its end; where two are equal, the earlier one.

    Args:
        trials: the default among them, finished.
    """
    return _ranked([trial for trial in trials if trial.state == "finished"], -1)[0]


def finalists(trials: Sequence[Trial]) -> int:
    """Return how many trials beside the default were trained to their end."""
    return sum(t.state == "finished" and t.number != DEFAULT for t in trials)


def _ranked(trials: Sequence[Trial], rung: int) -> list[Trial]:
    return sorted(trials, key=lambda trial: (trial.scores[rung].rank, trial.number))
