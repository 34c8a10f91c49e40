"""Is one system better than another on the same utterances? By resampling whole speakers.

Both systems heard the same speakers, so speakers are drawn once for both and the difference is what
varies: its interval is far narrower than two separate ones suggest. The paired bootstrap and the
probability of improvement are Bisani & Ney's (2004, "Bootstrap estimates for confidence intervals
in ASR performance evaluation", ICASSP); drawing whole speakers, and the small-sample correction,
are those of ``scoring.intervals``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tpactl.scoring.intervals import (
    FEWEST_CLUSTERS,
    RESAMPLES,
    Floats,
    bias_and_skew,
    bounds,
    cluster_totals,
    degrees_of_freedom,
    expansion,
    resampled_rates,
)
from tpactl.scoring.wer import Counts, rate


@dataclass(frozen=True)
class PairedBootstrap:
    """One system's rate minus another's; below 0 the first is better.

    Attributes:
        low, high: interval of ``difference``; like all below ``None`` under five speakers.
        probability_of_improvement: share of resamples in which the first errs less, ties counted
            half.
        p_value: two-sided. It is below 5 % where the 95 % interval leaves out 0, to within the
            grain of the resamples.
    """

    difference: float
    low: float | None
    high: float | None
    probability_of_improvement: float | None
    p_value: float | None


def paired_bootstrap(
    first: Sequence[Counts],
    second: Sequence[Counts],
    clusters: Sequence[str | None] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = 0.95,
) -> PairedBootstrap:
    """Return how much ``first`` errs more than ``second``, and how sure that is.

    Args:
        first: errors of each utterance under one system.
        second: errors of the same utterances under the other.
        clusters: each utterance's speaker, as ``intervals.bootstrap``.
        resamples: how many times speakers are drawn.
        seed: of the draws.
        confidence: of the interval.

    Raises:
        ValueError: the two do not stand on the same references.
    """
    errors, lengths = cluster_totals(first, clusters)
    others, other_lengths = cluster_totals(second, clusters)
    if not np.array_equal(lengths, other_lengths):
        raise ValueError("the systems were not scored on the same references")
    difference = rate(first) - rate(second)
    if np.count_nonzero(lengths) < FEWEST_CLUSTERS:
        return PairedBootstrap(difference, None, None, None, None)
    gaps = errors - others
    if not gaps.any():
        return PairedBootstrap(0.0, 0.0, 0.0, 0.5, 1.0)
    drawn = resampled_rates(gaps, lengths, resamples, seed)
    low, high = bounds(drawn, gaps, lengths, confidence)
    better = float(np.mean(drawn < 0) + np.mean(drawn <= 0)) / 2
    return PairedBootstrap(difference, low, high, better, _p_value(drawn, gaps, lengths))


def _p_value(drawn: Floats, gaps: Floats, lengths: Floats) -> float:
    """Return 1 - the confidence at which the interval of ``bounds`` just reaches 0.

    ``bounds`` reads the resamples at ``b + (b + w) / (1 - a (b + w))`` deviations, w the reach;
    here that is solved for the w at which 0 is read.
    """
    from scipy.special import stdtr

    bias, skew = bias_and_skew(drawn, gaps, lengths)
    below = float(np.mean(drawn < 0) + np.mean(drawn <= 0)) / 2
    least = 1 / (len(drawn) + 1)
    place = NormalDist().inv_cdf(min(max(below, least), 1 - least)) - bias
    room = 1 + skew * place
    # Past the pole no finite reach reads 0: as sure as the resamples allow.
    reach = abs(place / room - bias) if room > 0 else abs(NormalDist().inv_cdf(least))
    spread = float(drawn.std())
    if below in (0.0, 1.0) and spread > 0:
        # No resample reaches 0: how far beyond them it lies, the normal that fits them tells.
        reach = max(reach, abs(float(drawn.mean())) / spread)
    freedom = degrees_of_freedom(lengths)
    tail = float(stdtr(freedom, -reach / expansion(lengths)))
    return min(1.0, max(2 * tail, least))
