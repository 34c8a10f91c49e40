import pytest

from tpactl.scoring.alignment import align
from tpactl.scoring.terms import TermCounts, count_term


def counted(term: str, reference: str, hypothesis: str) -> tuple[int, int, int]:
    words, heard = reference.split(), hypothesis.split()
    found = count_term(term.split(), words, heard, align(words, heard))
    return found.in_reference, found.in_hypothesis, found.correct


@pytest.mark.parametrize(
    ("term", "reference", "hypothesis", "expected"),
    [
        ("dock", "the dock is full", "the dock is full", (1, 1, 1)),
        ("dock", "the dock is full", "the dog is full", (1, 0, 0)),
        ("dock", "the dog is full", "the dock is full", (0, 1, 0)),
        # Heard, but somewhere else: searching the text would call it right.
        ("dock", "dock a b c d e f g", "x a b c d e f g dock", (1, 1, 0)),
        ("cross dock", "the cross dock at nine", "the cross dock at nine", (1, 1, 1)),
        ("cross dock", "the cross dock at nine", "the cross duck at nine", (1, 0, 0)),
        ("cross dock", "the cross dock at nine", "the cross the dock at nine", (1, 0, 0)),
        ("cross dock", "cross dock and cross dock", "cross dock and dock", (2, 1, 1)),
        ("a a", "a a a", "a a a", (2, 2, 2)),
        ("dock", "", "dock", (0, 1, 0)),
        ("dock", "dock", "", (1, 0, 0)),
    ],
)
def test_terms_are_counted_where_they_were_said(term, reference, hypothesis, expected):
    assert counted(term, reference, hypothesis) == expected


def test_shares_of_nothing_are_none():
    assert (TermCounts().recall, TermCounts().precision) == (None, None)
    both = TermCounts(4, 2, 1) + TermCounts(0, 2, 1)
    assert (both.recall, both.precision) == (0.5, 0.5)
