import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scoring.speakers import Population, coverage, plain_percentile
from tpactl.scoring.intervals import bootstrap, degrees_of_freedom, student_quantile
from tpactl.scoring.wer import Counts, rate


def utterances(*pairs):
    return [Counts(hits=words - wrong, substitutions=wrong) for wrong, words in pairs]


TEN = utterances(*[(n % 4, 10 + n) for n in range(10)])


def test_the_interval_holds_the_rate_and_is_the_same_each_time():
    first = bootstrap(TEN, seed=3)
    assert first is not None
    assert 0 <= first.low < rate(TEN) < first.high
    assert bootstrap(TEN, seed=3) == first
    assert bootstrap(TEN, seed=4) != first


def test_a_wider_confidence_gives_a_wider_interval():
    narrow, wide = bootstrap(TEN, confidence=0.8), bootstrap(TEN, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_speakers_are_drawn_whole():
    # Within a speaker all goes alike, so 60 utterances tell no more than 6 speakers do.
    rows = [(wrong, 10) for wrong in (0, 1, 2, 3, 4, 5) for _ in range(10)]
    speakers = [f"s{wrong}" for wrong, _ in rows]
    by_speaker = bootstrap(utterances(*rows), speakers)
    by_utterance = bootstrap(utterances(*rows))
    assert by_speaker.high - by_speaker.low > 2 * (by_utterance.high - by_utterance.low)


def test_an_utterance_without_a_speaker_is_its_own():
    assert bootstrap(TEN, [None] * 10) == bootstrap(TEN)


def test_the_order_of_utterances_within_speakers_does_not_matter():
    speakers = [f"s{n % 5}" for n in range(10)]
    swapped = [TEN[n] for n in (5, 6, 7, 8, 9, 0, 1, 2, 3, 4)]
    assert bootstrap(TEN, speakers) == bootstrap(swapped, speakers)


@pytest.mark.parametrize("speakers", [["a", "b", "c", "d"] * 3, ["a"] * 12])
def test_no_interval_below_five_speakers(speakers):
    assert bootstrap(utterances(*[(1, 9)] * 12), speakers) is None


def test_speakers_without_reference_words_do_not_count_as_speakers():
    silent = [Counts(insertions=2)] * 6
    assert bootstrap([*utterances(*[(1, 9)] * 4), *silent]) is None
    assert bootstrap(silent) is None
    assert bootstrap([]) is None


def test_insertions_into_empty_references_widen_the_interval():
    assert bootstrap([*TEN, Counts(insertions=30)]).high > bootstrap(TEN).high


def test_no_error_at_all_still_leaves_room_for_some():
    flawless = bootstrap(utterances(*[(0, 50)] * 8))
    assert flawless.low == 0.0
    assert flawless.high == pytest.approx(3.689 / 400, rel=1e-3)


def test_equal_speakers_give_an_interval_of_no_width():
    interval = bootstrap(utterances(*[(2, 10)] * 8))
    assert (interval.low, interval.high) == (pytest.approx(0.2), pytest.approx(0.2))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=5, max_size=12),
    st.integers(0, 3),
)
def test_bounds_are_ordered_and_never_negative(pairs, seed):
    counts = [Counts(hits=words, insertions=wrong) for wrong, words in pairs]
    interval = bootstrap(counts, resamples=200, seed=seed)
    assert 0 <= interval.low <= interval.high


def test_many_utterances_need_little_memory():
    many = utterances(*[(n % 3, 10) for n in range(20_000)])
    interval = bootstrap(many, resamples=100)
    assert interval.high - interval.low < 0.01


# Student, Biometrika 1908; any statistics book has the table.
@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.706), (2, 4.303), (7, 2.365), (19, 2.093), (99, 1.984), (1e6, 1.960)]
)
def test_quantiles_of_student(freedom, t):
    assert student_quantile(0.95, freedom) == pytest.approx(t, abs=5e-4)


def test_degrees_of_freedom_are_the_speakers_less_one_when_they_are_equal():
    assert degrees_of_freedom(np.full(8, 120.0)) == pytest.approx(7)


def test_degrees_of_freedom_fall_when_one_speaker_dominates():
    assert degrees_of_freedom(np.array([1000.0, 1, 1, 1, 1, 1])) < 1.01


def test_degrees_of_freedom_equal_the_matrix_they_stand_for():
    lengths = np.exp(np.random.default_rng(0).normal(size=40))
    share = lengths / lengths.sum()
    g = (share / (1 - share))[:, None] * (np.eye(40) - share)
    m = g @ g.T
    assert degrees_of_freedom(lengths) == pytest.approx(np.trace(m) ** 2 / (m**2).sum())


@pytest.mark.parametrize("speakers", [8, 20, 100])
@pytest.mark.parametrize("shape", ["lognormal", "beta"])
def test_intervals_cover_what_they_promise(speakers, shape):
    # tests/bench/interval_coverage.py runs more populations and trials; docs have its table.
    population = Population(0.2, 0.4, 0.6, shape)
    assert 0.92 <= coverage(population, speakers, 500, resamples=1000) <= 0.98


def test_a_plain_percentile_interval_would_promise_too_much():
    # The yardstick must be able to fail: without the corrections eight speakers are too few.
    population = Population(0.2, 0.4, 0.6, "lognormal")
    assert coverage(population, 8, 500, resamples=1000, make=plain_percentile) < 0.90
