"""Made-up speakers for the coverage of the intervals: unequal length, and each their own rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tpactl.scoring.intervals import Interval, bootstrap, cluster_totals, resampled_rates
from tpactl.scoring.wer import Counts


@dataclass(frozen=True)
class Population:
    """Speakers to draw from.

    ``spread`` is the standard deviation of the speakers' rates by their mean; ``unequal`` that of
    the logarithm of their lengths: at 0.5 the longest of eight says five times what the shortest
    says, at 1.0 twenty times.
    """

    mean: float
    spread: float
    unequal: float
    shape: str
    """``lognormal``: skewed, a few speakers do very badly; ``beta``: bounded by 1."""

    def draw(self, generator: np.random.Generator, trials: int, speakers: int):
        """Return errors and words, both (trials, speakers)."""
        size = (trials, speakers)
        words = np.exp(generator.normal(np.log(150), self.unequal, size)).round().clip(5)
        if self.shape == "lognormal":
            sigma = np.sqrt(np.log(1 + self.spread**2))
            factor = np.exp(generator.normal(-(sigma**2) / 2, sigma, size))
            rates = (self.mean * factor).clip(0, 1)
        else:
            weight = (1 - self.mean) / (self.mean * self.spread**2) - 1
            rates = generator.beta(self.mean * weight, (1 - self.mean) * weight, size)
        return generator.binomial(words.astype(int), rates), words.astype(int)

    def true_rate(self) -> float:
        """Return the rate over two million speakers."""
        errors, words = self.draw(np.random.default_rng(99), 2000, 1000)
        return float(errors.sum() / words.sum())


def coverage(
    population: Population,
    speakers: int,
    trials: int,
    *,
    resamples: int = 2000,
    seed: int = 1,
    make: Callable[..., Interval | None] = bootstrap,
) -> float:
    """Return in which share of trials the 95 % interval of ``make`` holds the true rate."""
    truth = population.true_rate()
    errors, words = population.draw(np.random.default_rng(seed), trials, speakers)
    held = 0
    for trial in range(trials):
        counts = [
            Counts(hits=n - e, substitutions=e)
            for e, n in zip(errors[trial].tolist(), words[trial].tolist(), strict=True)
        ]
        interval = make(counts, None, resamples=resamples, seed=trial)
        held += bool(interval and interval.low <= truth <= interval.high)
    return held / trials


def plain_percentile(counts, clusters, *, resamples: int, seed: int) -> Interval:
    """Return what ``bootstrap`` is measured against: the 2.5 and 97.5 % points, uncorrected."""
    rates = resampled_rates(*cluster_totals(counts, clusters), resamples, seed)
    return Interval(*np.quantile(rates, [0.025, 0.975]))
