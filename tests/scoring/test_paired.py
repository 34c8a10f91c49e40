import numpy as np
import pytest

from tpactl.scoring.paired import paired_bootstrap
from tpactl.scoring.wer import Counts, rate


def utterances(*pairs):
    return [Counts(hits=words - wrong, substitutions=wrong) for wrong, words in pairs]


def two_systems(generator, *, speakers=20, better=0.0, spread=0.5):
    """Two systems on unequal speakers, each with an effect on both and one on each alone."""
    words = np.exp(generator.normal(np.log(150), 0.5, speakers)).round().clip(10).astype(int)
    shared = generator.lognormal(0, spread, speakers)
    rates = [
        (0.2 * shared * generator.lognormal(0, 0.2, speakers) * factor).clip(0, 1)
        for factor in (1 - better, 1.0)
    ]
    errors = [generator.binomial(words, each) for each in rates]
    return [utterances(*zip(e.tolist(), words.tolist(), strict=True)) for e in errors]


def slow_reference(first, second, clusters, resamples, seed):
    """The share of resamples in which the first errs less, with nothing clever: one at a time."""
    names = list(dict.fromkeys(clusters))
    generator = np.random.default_rng(seed)
    wins = 0.0
    for _ in range(resamples):
        drawn = generator.integers(0, len(names), len(names))
        gap = 0
        for number in drawn:
            for a, b, name in zip(first, second, clusters, strict=True):
                if name == names[number]:
                    gap += a.errors - b.errors
        wins += 1.0 if gap < 0 else 0.5 if gap == 0 else 0.0
    return wins / resamples


def test_the_share_of_resamples_equals_a_slow_reference():
    generator = np.random.default_rng(6)
    first, second = two_systems(generator, speakers=24)
    clusters = [f"s{n % 8}" for n in range(24)]
    fast = paired_bootstrap(first, second, clusters, resamples=300, seed=7)
    assert 0.05 < fast.probability_of_improvement < 0.95
    assert fast.probability_of_improvement == slow_reference(first, second, clusters, 300, 7)


def test_the_difference_is_that_of_the_rates_and_lies_in_its_interval():
    first, second = two_systems(np.random.default_rng(0), better=0.3)
    paired = paired_bootstrap(first, second)
    assert paired.difference == pytest.approx(rate(first) - rate(second))
    assert paired.low < paired.difference < paired.high < 0
    assert paired.probability_of_improvement > 0.99
    assert paired.p_value < 0.01


def test_exchanging_the_systems_exchanges_the_sign():
    first, second = two_systems(np.random.default_rng(1), better=0.1)
    one, other = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value)
    assert one.probability_of_improvement == pytest.approx(1 - other.probability_of_improvement)


def test_the_p_value_and_the_interval_say_the_same():
    generator = np.random.default_rng(3)
    sure = 0
    for trial in range(60):
        paired = paired_bootstrap(*two_systems(generator, better=0.15, speakers=10), seed=trial)
        leaves_out_zero = not paired.low <= 0 <= paired.high
        if abs(paired.p_value - 0.05) > 0.003:
            assert (paired.p_value < 0.05) == leaves_out_zero
        sure += leaves_out_zero
    assert 5 < sure < 55


@pytest.mark.parametrize("speakers", [8, 20])
def test_without_a_difference_one_in_twenty_tests_is_below_five_percent(speakers):
    generator = np.random.default_rng(11)
    trials = 600
    found = sum(
        paired_bootstrap(*two_systems(generator, speakers=speakers), resamples=600).p_value < 0.05
        for _ in range(trials)
    )
    assert 0.02 <= found / trials <= 0.08


def test_a_difference_is_found_which_separate_intervals_would_hide():
    generator = np.random.default_rng(2)
    found = overlapping = 0
    for _ in range(60):
        first, second = two_systems(generator, better=0.25)
        found += paired_bootstrap(first, second, resamples=500).p_value < 0.05
        shared = 2 * np.std([rate([pair]) for pair in first]) / np.sqrt(20)
        overlapping += rate(first) + shared > rate(second) - shared
    assert found >= 45
    assert overlapping >= 30


def test_systems_that_err_alike_do_not_differ():
    first, _ = two_systems(np.random.default_rng(0))
    same = paired_bootstrap(first, first)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert (same.probability_of_improvement, same.p_value) == (0.5, 1.0)


def test_below_five_speakers_there_is_the_difference_and_nothing_more():
    first, second = utterances((1, 10), (2, 10)), utterances((3, 10), (2, 10))
    few = paired_bootstrap(first, second)
    assert few.difference == pytest.approx(-0.1)
    assert (few.low, few.high, few.probability_of_improvement, few.p_value) == (None,) * 4


def test_other_references_are_refused():
    with pytest.raises(ValueError, match="same references"):
        paired_bootstrap(utterances((1, 10)), utterances((1, 11)))


def test_every_speaker_better_is_as_sure_as_the_resamples_allow():
    first = utterances(*[(1 + n % 3, 100) for n in range(40)])
    second = utterances(*[(30 + n % 5, 100) for n in range(40)])
    paired = paired_bootstrap(first, second, resamples=1000)
    assert paired.probability_of_improvement == 1.0
    assert 0 < paired.p_value < 0.01


def test_a_difference_that_never_varies_is_no_division_by_zero():
    right = [Counts(hits=4, substitutions=0, deletions=0, insertions=0)] * 6
    wrong = [Counts(hits=2, substitutions=2, deletions=0, insertions=0)] * 6
    result = paired_bootstrap(right, wrong, [f"s{n}" for n in range(6)])
    assert result.difference == -0.5
    assert result.p_value is not None
    assert result.p_value < 0.1


def test_the_p_value_goes_on_beyond_the_resamples():
    errors = [(5, 17), (6, 18), (4, 16), (5, 18), (6, 16), (5, 17), (4, 18), (6, 17)]
    first, second = (
        [
            Counts(hits=20 - pair[k], substitutions=pair[k], deletions=0, insertions=0)
            for pair in errors
        ]
        for k in (0, 1)
    )
    result = paired_bootstrap(first, second, [f"s{n}" for n in range(8)])
    assert result.p_value is not None
    assert result.p_value < 0.001
