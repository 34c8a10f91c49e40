"""NIST's matched-pair test of two recognisers, on stretches of speech that err independently.

Sources: L. Gillick and S. J. Cox 1989, "Some statistical issues in the comparison of speech
recognition algorithms", ICASSP, 532-535; D. S. Pallett, W. M. Fisher and J. G. Fiscus 1990, "Tools
for the analysis of benchmark speech recognition tests", ICASSP, 97-100, for the segments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tpactl.scoring.alignment import Alignment, align

GOOD_WORDS = 2
"""So many words in a row that both systems had right part two segments."""


@dataclass(frozen=True)
class MatchedPairs:
    """The result of the test of a first system against a second.

    Attributes:
        segments: stretches in which at least one of the two erred.
        mean: errors of the first minus errors of the second, a segment.
        statistic: ``mean`` by its standard error, standard normal where there is no difference;
            ``None`` where all segments differ by the same.
        p_value: two-sided. Where all segments differ by the same, that of the sign test.
    """

    segments: int
    mean: float
    statistic: float | None
    p_value: float


def mapsswe(
    references: Sequence[Sequence[str]],
    first: Sequence[Sequence[str]],
    second: Sequence[Sequence[str]],
) -> MatchedPairs:
    """Return the matched-pair sentence-segment word-error test.

    It takes segments as independent, whoever speaks. The speaker-cluster bootstrap does not, so
    it asks for more; where the two disagree, believe that one about new speakers and this one about
    more speech of the same speakers.

    Args:
        references: tokens (words, or characters) of each utterance.
        first: what one system heard, in the same order.
        second: what the other heard.
    """
    gaps = [
        gap
        for reference, a, b in zip(references, first, second, strict=True)
        for gap in segment_differences(align(reference, a), align(reference, b))
    ]
    return mean_differs(gaps)


def segment_differences(first: Alignment, second: Alignment) -> Iterator[int]:
    """Yield errors of the first minus errors of the second, segment by segment of an utterance.

    A segment is bounded by the ends of the utterance or by at least two words in a row that both
    had right, nothing inserted between them.
    """
    difference = 0
    erred = False
    good = 0
    last = len(first.matched)
    for place in range(last + 1):
        errors = first.inserted[place], second.inserted[place]
        if any(errors):
            good = 0
            erred = True
            difference += errors[0] - errors[1]
        if place == last:
            break
        wrong = first.matched[place] is None, second.matched[place] is None
        if any(wrong):
            good = 0
            erred = True
            difference += wrong[0] - wrong[1]
            continue
        good += 1
        if good >= GOOD_WORDS and erred:
            yield difference
            difference, erred = 0, False
    if erred:
        yield difference


def mean_differs(gaps: Sequence[int]) -> MatchedPairs:
    """Return the test of whether ``gaps``, one a segment, have mean 0.

    Source: Gillick & Cox 1989, sec. 4.
    """
    from scipy.special import ndtr

    count = len(gaps)
    mean = sum(gaps) / count if count else 0.0
    variance = sum((gap - mean) ** 2 for gap in gaps) / (count - 1) if count > 1 else 0.0
    if variance == 0:
        return MatchedPairs(count, mean, None, min(1.0, 2 * 0.5**count) if mean else 1.0)
    statistic = mean / math.sqrt(variance / count)
    return MatchedPairs(count, mean, statistic, float(2 * ndtr(-abs(statistic))))
