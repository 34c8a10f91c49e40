import random
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tpactl.scoring.alignment import Alignment, align
from tpactl.scoring.mapsswe import mapsswe, mean_differs, segment_differences

FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=14)
INSERTIONS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=15, max_size=15)


def alignment(hits, inserted) -> Alignment:
    return Alignment(tuple(n if hit else None for n, hit in enumerate(hits)), tuple(inserted))


def slow_segments(first: Alignment, second: Alignment) -> list[int]:
    """The definition with a list of everything: mark the runs of good words, cut there."""
    atoms = []  # ("gap" or "word", errors of the first, of the second)
    for n in range(len(first.matched) + 1):
        atoms.append(("gap", first.inserted[n], second.inserted[n]))
        if n < len(first.matched):
            atoms.append(("word", int(first.matched[n] is None), int(second.matched[n] is None)))
    segments, current = [], []
    for clean, group in groupby(atoms, key=lambda atom: atom[1] == atom[2] == 0):
        run = list(group)
        if clean and sum(kind == "word" for kind, *_ in run) >= 2:
            segments.append(current)
            current = []
        elif not clean:
            current += run
    segments.append(current)
    return [sum(a for _, a, _ in s) - sum(b for *_, b in s) for s in segments if s]


@given(FLAGS, INSERTIONS)
def test_segments_equal_a_slow_reference(flags, insertions):
    count = len(flags) + 1
    first = alignment([a for a, _ in flags], [a for a, _ in insertions[:count]])
    second = alignment([b for _, b in flags], [b for _, b in insertions[:count]])
    assert list(segment_differences(first, second)) == slow_segments(first, second)


@given(FLAGS, INSERTIONS)
def test_no_error_is_lost_between_segments(flags, insertions):
    count = len(flags) + 1
    first = alignment([a for a, _ in flags], [a for a, _ in insertions[:count]])
    second = alignment([b for _, b in flags], [b for _, b in insertions[:count]])
    assert sum(segment_differences(first, second)) == first.errors - second.errors


def segments(reference, first, second):
    words = reference.split()
    return list(segment_differences(align(words, first.split()), align(words, second.split())))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a b c d e f", "a b c d e f", []),
        ("x b c d e y", "a b c d e f", [1, 1]),  # two good words and more between
        ("x b y d e f", "a b c d e f", [2]),  # one good word is no boundary
        ("x b c d e f", "a b c d e y", [1, -1]),
        ("x b c d e f", "y b c d e f", [0]),  # both erred: a segment without difference
        ("a b c z d e f", "a b c d e f", [1]),  # an insertion
        ("a b z c d e y", "a b c d e f", [1, 1]),
        ("", "a b c d e f", [6]),
    ],
)
def test_segments_by_hand(first, second, expected):
    assert segments("a b c d e f", first, second) == expected


def test_the_statistic_is_that_of_a_one_sample_test():
    gaps = np.random.default_rng(0).integers(-2, 3, 400).tolist()
    ours = mean_differs(gaps)
    reference = stats.ttest_1samp(gaps, 0)
    assert ours.statistic == pytest.approx(reference.statistic)
    assert ours.p_value == pytest.approx(2 * stats.norm.sf(abs(reference.statistic)))
    assert ours.segments == 400


def test_equal_gaps_are_judged_by_their_sign():
    assert (mean_differs([]).p_value, mean_differs([0, 0]).p_value) == (1.0, 1.0)
    assert mean_differs([1]).p_value == 1.0
    assert mean_differs([-1] * 8).p_value == pytest.approx(2 / 256)
    assert mean_differs([-1] * 8).statistic is None


def recognised(words, error_rate, generator):
    heard = []
    for word in words:
        if generator.random() >= error_rate:
            heard.append(word)
        elif generator.random() < 0.7:
            heard.append(f"not-{word}-{generator.randrange(9)}")
    return heard


def p_values(first_rate, second_rate, trials, generator):
    found = []
    for _ in range(trials):
        references = [[f"w{n}" for n in range(12)] for _ in range(40)]
        heard = [
            [recognised(words, each, generator) for words in references]
            for each in (first_rate, second_rate)
        ]
        found.append(mapsswe(references, *heard).p_value)
    return np.array(found)


def test_without_a_difference_one_in_twenty_is_below_five_percent():
    below = (p_values(0.15, 0.15, 400, random.Random(1)) < 0.05).mean()
    assert 0.02 <= below <= 0.08


def test_a_difference_is_found():
    assert (p_values(0.10, 0.20, 60, random.Random(2)) < 0.05).mean() > 0.9
