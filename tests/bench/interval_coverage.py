"""How often do the 95 % intervals hold the true rate? Simulated at 8, 20 and 100 speakers.

python -m tests.bench.interval_coverage [TRIALS]

Prints a Markdown table; some seven minutes on one core at 2000 trials.
"""

from __future__ import annotations

import sys

from tests.scoring.speakers import Population, coverage, plain_percentile

SPEAKERS = (8, 20, 100)
POPULATIONS = [
    Population(0.10, 0.3, 0.5, "lognormal"),
    Population(0.10, 0.6, 0.5, "lognormal"),
    Population(0.10, 0.6, 1.0, "lognormal"),
    Population(0.01, 0.5, 0.5, "lognormal"),
    Population(0.03, 0.8, 0.5, "lognormal"),
    Population(0.40, 0.4, 0.0, "beta"),
    Population(0.40, 0.4, 0.5, "beta"),
    Population(0.40, 0.4, 1.0, "beta"),
    Population(0.30, 0.7, 0.7, "beta"),
    Population(0.20, 0.02, 0.7, "beta"),
    Population(0.10, 1.0, 0.5, "lognormal"),
]


def main() -> None:
    """Print the table."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    sizes = " | ".join(f"{k} speakers" for k in SPEAKERS)
    print(f"| mean | spread | unequal | shape | {sizes} | plain percentile, 8 speakers |")
    print("|---" * (5 + len(SPEAKERS)) + "|")
    for p in POPULATIONS:
        cells = [f"{100 * coverage(p, k, trials):.1f}" for k in SPEAKERS]
        cells.append(f"{100 * coverage(p, 8, trials, make=plain_percentile):.1f}")
        row = [str(p.mean), str(p.spread), str(p.unequal), p.shape, *cells]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
