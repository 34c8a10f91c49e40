"""From what was heard to error rates with intervals: in total, of a part, by utterance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from tpactl.eval.testset import TestSet
from tpactl.formats.report import Interval, Metric, Rate, SystemRates, UtteranceResult
from tpactl.scoring import intervals
from tpactl.scoring.cjk import has_no_word_spaces
from tpactl.scoring.normalise import Normaliser, collapse_spaces
from tpactl.scoring.wer import Counts, count, count_characters, total

SEED = 0
"""Of the resampling. Every system meets the same draws."""


class Measure:
    """The references of a test set under one normaliser, ready to be compared with hypotheses."""

    def __init__(self, test_set: TestSet, normaliser: Normaliser) -> None:
        self.test_set = test_set
        self.normaliser = normaliser
        self.raw = [collapse_spaces(utterance.text) for utterance in test_set.utterances]
        self.references = [normaliser(utterance.text) for utterance in test_set.utterances]

    @property
    def empty_references(self) -> int:
        """Utterances whose normalised reference has no words: they can only gain insertions."""
        return sum(not reference for reference in self.references)

    @property
    def metric(self) -> Metric:
        """The error rate that fits the language: by character where words have no spaces."""
        return "cer" if has_no_word_spaces("".join(self.raw)) else "wer"

    @property
    def interval(self) -> Interval:
        """How the intervals are made."""
        return Interval(
            method=intervals.METHOD,
            unit="speaker" if self.test_set.speaker_count else "utterance",
            resamples=intervals.RESAMPLES,
            seed=SEED,
        )

    def score(self, hypotheses: Sequence[str]) -> Scores:
        """Return the errors of ``hypotheses``, which stand in the order of the utterances."""
        return Scores(self, hypotheses)


class Scores:
    """One system's errors, utterance by utterance.

    Attributes:
        measure: the references they were counted against.
        hypotheses: as they were heard.
        normalised: the same under the normaliser.
        words, characters: errors under the normaliser.
    """

    def __init__(self, measure: Measure, hypotheses: Sequence[str]) -> None:
        self.measure = measure
        self.hypotheses = hypotheses
        self.normalised = [measure.normaliser(text) for text in hypotheses]
        self.words = count(measure.references, self.normalised)
        self.characters = count_characters(measure.references, self.normalised)

    @cached_property
    def raw_words(self) -> list[Counts]:
        """Word errors with white space collapsed and nothing else changed."""
        return count(self.measure.raw, self.hypotheses)

    @property
    def wer(self) -> Rate:
        """Words, under the normaliser."""
        return self._rate(self.words)

    @property
    def cer(self) -> Rate:
        """Characters, under the normaliser."""
        return self._rate(self.characters)

    @property
    def raw_wer(self) -> Rate:
        """Words as they were written and heard."""
        return self._rate(self.raw_words)

    @property
    def raw_cer(self) -> Rate:
        """Characters as they were written and heard."""
        return self._rate(count_characters(self.measure.raw, self.hypotheses))

    def by(self, metric: Metric) -> list[Counts]:
        """Return the errors by word or by character."""
        return self.words if metric == "wer" else self.characters

    def tokens(self, metric: Metric) -> list[list[str]]:
        """Return what was heard in words or in characters."""
        return [tokens(text, metric) for text in self.normalised]

    def rates(self, system: str, indices: Sequence[int] | None = None) -> SystemRates:
        """Return the rates over ``indices``, or over all utterances."""
        return SystemRates(
            system=system,
            wer=self._rate(self.words, indices),
            cer=self._rate(self.characters, indices),
        )

    def utterances(
        self,
        system: str,
        seconds: Mapping[int, float] | None = None,
        snr_db: Mapping[int, float | None] | None = None,
    ) -> Iterator[UtteranceResult]:
        """Yield each utterance with its texts and errors, in the order of the data set."""
        measure = self.measure
        for index, utterance in enumerate(measure.test_set.utterances):
            words, characters = self.words[index], self.characters[index]
            raw = self.raw_words[index]
            yield UtteranceResult(
                system=system,
                id=utterance.id,
                speaker=utterance.speaker,
                duration_s=utterance.duration,
                reference=utterance.text,
                hypothesis=self.hypotheses[index],
                reference_normalised=measure.references[index],
                hypothesis_normalised=self.normalised[index],
                normaliser=measure.normaliser.label,
                substitutions=words.substitutions,
                deletions=words.deletions,
                insertions=words.insertions,
                hits=words.hits,
                audio_filepath=utterance.audio_filepath,
                seconds=(seconds or {}).get(index),
                character_errors=characters.errors,
                character_reference_length=characters.reference_length,
                raw_errors=raw.errors,
                raw_reference_length=raw.reference_length,
                snr_db=(snr_db or {}).get(index),
                metadata=utterance.metadata,
            )

    def _rate(self, counts: Sequence[Counts], indices: Sequence[int] | None = None) -> Rate:
        speakers = self.measure.test_set.speakers
        if indices is not None:
            counts = [counts[index] for index in indices]
            speakers = [speakers[index] for index in indices]
        interval = intervals.bootstrap(counts, speakers, seed=SEED)
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


def tokens(text: str, metric: Metric) -> list[str]:
    """Return the words of a text, or its characters without spaces."""
    return text.split() if metric == "wer" else [c for c in text if c != " "]
