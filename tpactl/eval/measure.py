"""From what was heard to error rates with intervals, in total and utterance by utterance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tpactl.eval.testset import TestSet
from tpactl.formats.report import Interval, Rate, UtteranceResult
from tpactl.scoring import intervals
from tpactl.scoring.normalise import Normaliser, get_normaliser
from tpactl.scoring.wer import Counts, count, count_characters, total

SEED = 0
"""Of the resampling. Every system meets the same draws."""


class Measure:
    """The references of a test set under one normaliser, ready to be compared with hypotheses."""

    def __init__(self, test_set: TestSet, normaliser: Normaliser) -> None:
        self.test_set = test_set
        self.normaliser = normaliser
        self.raw = [utterance.text for utterance in test_set.utterances]
        self.references = [normaliser(text) for text in self.raw]

    @property
    def empty_references(self) -> int:
        """Utterances whose normalised reference has no words: they can only gain insertions."""
        return sum(not reference for reference in self.references)

    @property
    def interval(self) -> Interval:
        """How the intervals are made."""
        named = any(speaker is not None for speaker in self.test_set.speakers)
        return Interval(
            method=intervals.METHOD,
            unit="speaker" if named else "utterance",
            resamples=intervals.RESAMPLES,
            seed=SEED,
        )

    def score(self, hypotheses: Sequence[str]) -> Scores:
        """Return the errors of ``hypotheses``, which stand in the order of the utterances."""
        return Scores(self, hypotheses)


class Scores:
    """One system's errors.

    Attributes:
        wer, cer: under the normaliser.
        raw_wer: with white space collapsed and nothing else changed.
    """

    def __init__(self, measure: Measure, hypotheses: Sequence[str]) -> None:
        self._measure = measure
        self._raw = hypotheses
        self._normalised = [measure.normaliser(text) for text in hypotheses]
        self._words = count(measure.references, self._normalised)
        characters = count_characters(measure.references, self._normalised)
        spaces_only = get_normaliser("none")
        raw = count(
            [spaces_only(text) for text in measure.raw], [spaces_only(text) for text in hypotheses]
        )
        self.wer = self._rate(self._words)
        self.cer = self._rate(characters)
        self.raw_wer = self._rate(raw)

    def utterances(self, system: str) -> Iterator[UtteranceResult]:
        """Yield each utterance with its texts and word errors, in the order of the data set."""
        measure = self._measure
        for index, utterance in enumerate(measure.test_set.utterances):
            words = self._words[index]
            yield UtteranceResult(
                system=system,
                id=utterance.id,
                speaker=utterance.speaker,
                duration_s=utterance.duration,
                reference=utterance.text,
                hypothesis=self._raw[index],
                reference_normalised=measure.references[index],
                hypothesis_normalised=self._normalised[index],
                normaliser=measure.normaliser.label,
                substitutions=words.substitutions,
                deletions=words.deletions,
                insertions=words.insertions,
                hits=words.hits,
            )

    def _rate(self, counts: Sequence[Counts]) -> Rate:
        interval = intervals.bootstrap(counts, self._measure.test_set.speakers, seed=SEED)
        summed = total(counts)
        return Rate(
            rate=summed.rate,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            substitutions=summed.substitutions,
            deletions=summed.deletions,
            insertions=summed.insertions,
            hits=summed.hits,
            reference_length=summed.reference_length,
        )
