"""Every system against the base, the incumbent and the full fine-tune, in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tpactl.eval.measure import SEED, Scores, tokens
from tpactl.formats.report import Comparison, Mapsswe, Metric
from tpactl.scoring.mapsswe import mapsswe
from tpactl.scoring.paired import PairedBootstrap, paired_bootstrap
from tpactl.scoring.wer import rate

Role = Literal["base", "incumbent", "full", "greedy"]


def comparisons(
    scores: Mapping[str, Scores],
    against: Mapping[Role, str],
    metric: Metric,
    searched: Mapping[str, str] = {},
) -> list[Comparison]:
    """Return the paired tests of every system against each of ``against``.

    Args:
        scores: of all systems, by name, in the order of the report.
        against: role to the system's name.
        metric: by word or by character.
        searched: each system of beam search to the same one decoded greedily.
    """
    found = [
        _compare(scores, name, other, role, metric)
        for role, other in against.items()
        for name in scores
        # The base is what others are measured against; itself it is measured against nothing.
        if name != other and name != against.get("base")
    ]
    # Base, incumbent and full fine-tune are compared with their own search above.
    return found + [
        _compare(scores, name, greedy, "greedy", metric)
        for name, greedy in searched.items()
        if greedy not in against.values()
    ]


def paired(scores: Scores, other: Scores, metric: Metric) -> PairedBootstrap:
    """Return the speaker-cluster paired bootstrap of two systems on one test set."""
    speakers = scores.measure.test_set.speakers
    return paired_bootstrap(scores.by(metric), other.by(metric), speakers, seed=SEED)


def _compare(
    scores: Mapping[str, Scores], name: str, other: str, role: Role, metric: Metric
) -> Comparison:
    first, second = scores[name], scores[other]
    bootstrap = paired(first, second, metric)
    references = [tokens(text, metric) for text in first.measure.references]
    segments = mapsswe(references, first.tokens(metric), second.tokens(metric))
    rate_before = rate(second.by(metric))
    return Comparison(
        system=name,
        against=other,
        role=role,
        metric=metric,
        difference=bootstrap.difference,
        low=bootstrap.low,
        high=bootstrap.high,
        relative=bootstrap.difference / rate_before if rate_before else None,
        probability_of_improvement=bootstrap.probability_of_improvement,
        p_value=bootstrap.p_value,
        mapsswe=Mapsswe(
            segments=segments.segments,
            mean=segments.mean,
            statistic=segments.statistic,
            p_value=segments.p_value,
        ),
    )
