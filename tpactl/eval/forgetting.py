"""The same systems on a general set: what the adaptation made them forget."""

from __future__ import annotations

from collections.abc import Mapping

from tpactl.eval.comparisons import paired
from tpactl.eval.measure import Measure, Scores
from tpactl.formats.report import General, GeneralResult, Metric


def forgetting(measure: Measure, scores: Mapping[str, Scores], base: str) -> General:
    """Return each system's rates on the general set and its degradation against ``base``.

    Args:
        measure: the general set's references.
        scores: of all systems on it, by name.
        base: the name of the one that the others are measured against.
    """
    test_set = measure.test_set
    metric = measure.metric
    return General(
        data_path=str(test_set.data.folder.resolve()),
        data_digest=test_set.data.card.digest,
        split=test_set.split,
        utterances=len(test_set.utterances),
        speakers=test_set.speaker_count,
        duration_s=test_set.duration_s,
        empty_references=measure.empty_references,
        metric=metric,
        interval=measure.interval,
        results=[_result(name, each, scores[base], metric) for name, each in scores.items()],
    )


def _result(name: str, scores: Scores, base: Scores, metric: Metric) -> GeneralResult:
    degraded = None if scores is base else paired(scores, base, metric)
    return GeneralResult(
        system=name,
        wer=scores.wer,
        cer=scores.cer,
        raw_wer=scores.raw_wer,
        degradation=degraded.difference if degraded else 0.0,
        low=degraded.low if degraded else None,
        high=degraded.high if degraded else None,
        p_value=degraded.p_value if degraded else None,
    )
