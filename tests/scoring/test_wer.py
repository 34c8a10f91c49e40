import importlib.util

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpactl.scoring.wer import Counts, count, count_characters, rate, total

WORDS = st.lists(st.sampled_from(["a", "b", "c", "dock", "é", "倉庫", "9"]), max_size=8)
SENTENCES = WORDS.map(" ".join)


def fewest_edits(reference, hypothesis) -> int:
    """Slow and plain, straight from the definition (Wagner and Fischer 1974)."""
    table = [[max(i, j) for j in range(len(hypothesis) + 1)] for i in range(len(reference) + 1)]
    for i, wanted in enumerate(reference, 1):
        for j, heard in enumerate(hypothesis, 1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (wanted != heard),
            )
    return table[-1][-1]


def one(reference: str, hypothesis: str) -> Counts:
    return count([reference], [hypothesis])[0]


@settings(max_examples=300, deadline=None)
@given(SENTENCES, SENTENCES)
def test_word_errors_are_the_fewest_possible(reference, hypothesis):
    counted = one(reference, hypothesis)
    assert counted.errors == fewest_edits(reference.split(), hypothesis.split())
    assert counted.reference_length == len(reference.split())
    assert counted.hits + counted.substitutions + counted.insertions == len(hypothesis.split())


@settings(max_examples=200, deadline=None)
@given(SENTENCES, SENTENCES)
def test_character_errors_are_the_fewest_possible(reference, hypothesis):
    counted = count_characters([reference], [hypothesis])[0]
    assert counted.errors == fewest_edits(reference, hypothesis)
    assert counted.reference_length == len(reference)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=12))
def test_totals_equal_jiwer_on_the_whole_set(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    whole = jiwer.process_words(references, hypotheses)
    ours = total(count(references, hypotheses))
    assert (ours.hits, ours.errors) == (
        whole.hits,
        whole.substitutions + whole.deletions + whole.insertions,
    )
    assert rate(count(references, hypotheses)) == pytest.approx(whole.wer)


@settings(max_examples=100, deadline=None)
@given(SENTENCES)
def test_a_text_has_no_errors_against_itself(text):
    assert one(text, text).errors == 0
    assert count_characters([text], [text])[0].errors == 0


@pytest.mark.skipif(
    importlib.util.find_spec("kaldialign") is None, reason="kaldialign is not installed"
)
@settings(max_examples=100, deadline=None)
@given(SENTENCES, SENTENCES)
def test_totals_equal_kaldialign(reference, hypothesis):
    from kaldialign import edit_distance

    assert (
        one(reference, hypothesis).errors
        == (edit_distance(reference.split(), hypothesis.split())["total"])
    )


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("pick the left dock", "pick a left", Counts(2, 1, 1, 0)),
        ("", "", Counts()),
        ("", "two words", Counts(insertions=2)),
        (" \t ", "one", Counts(insertions=1)),
        ("two words", "", Counts(deletions=2)),
        ("a  b\tc\n", " a b   c", Counts(hits=3)),
        ("a", "a a a a", Counts(hits=1, insertions=3)),
    ],
)
def test_counts_at_the_edges(reference, hypothesis, expected):
    assert one(reference, hypothesis) == expected


def test_a_space_is_a_character():
    assert count_characters(["a b"], ["ab"])[0] == Counts(hits=2, deletions=1)


def test_the_rate_weighs_by_reference_length_and_may_exceed_one():
    assert rate(count(["a", "a b c d e f g h i"], ["b", "a b c d e f g h i"])) == 0.1
    assert rate(count(["a"], ["x y z"])) == 3.0


def test_the_rate_of_an_empty_reference_is_its_insertions():
    assert rate([]) == 0.0
    assert rate(count([""], ["x y"])) == 2.0


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        count(["a", "b"], ["a"])
