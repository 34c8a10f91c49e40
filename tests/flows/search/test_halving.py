"""Which trial is trained further."""

from __future__ import annotations

from tpactl.flows.search.halving import (
    best_finished,
    finalists,
    promotable,
    rungs_of,
    to_finish,
)
from tpactl.formats.search import Trial, TrialScore


def trial(number: int, *wers: float, state: str = "waiting", cer: float = 0.5) -> Trial:
    scores = [TrialScore(wer=wer, cer=cer) for wer in wers]
    return Trial(number=number, settings={}, state=state, scores=scores)


def test_the_last_rung_is_the_end_and_none_occurs_twice():
    assert rungs_of(10) == [2, 5, 10]
    assert rungs_of(16) == [4, 8, 16]
    assert rungs_of(2) == [1, 2]
    assert rungs_of(1) == [1]


def test_of_three_at_a_rung_the_best_goes_on_and_of_two_none_does():
    three = [trial(0, 0.5, 0.4, 0.3, state="finished"), trial(1, 0.3), trial(2, 0.4)]
    assert promotable(three[:2], 3) is None
    assert promotable(three, 3) == three[1]


def test_nobody_goes_on_where_the_best_have_gone_already():
    gone = [trial(0, 0.1, 0.1, 0.1, state="finished"), trial(1, 0.3), trial(2, 0.4)]
    assert promotable(gone, 3) is None


def test_the_highest_rung_is_looked_at_first():
    low = [trial(n, 0.1 * n) for n in range(1, 4)]
    high = [trial(n, 0.9, 0.1 * n) for n in range(4, 7)]
    assert promotable([*low, *high], 3) == high[0]


def test_what_failed_or_is_at_its_end_is_not_promoted():
    others = [trial(1, 0.1, 0.1, 0.1, state="finished"), trial(2, state="failed"), trial(3, 0.2)]
    assert promotable(others, 3) is None
    assert promotable([*others, trial(4, 0.9)], 3) is None


def test_equal_wer_is_decided_by_cer_and_then_by_age():
    one, two, three = trial(1, 0.2, cer=0.3), trial(2, 0.2, cer=0.1), trial(3, 0.2, cer=0.1)
    assert promotable([one, two, three], 3) == two


def test_the_trial_to_finish_is_the_best_of_the_highest_rung():
    waiting = [trial(1, 0.1), trial(2, 0.5, 0.4), trial(3, 0.5, 0.3)]
    assert to_finish(waiting) == [waiting[2], waiting[1], waiting[0]]
    assert to_finish([trial(1, 0.1, state="finished")]) == []


def test_the_winner_is_finished_and_where_two_are_equal_the_earlier():
    ended = [trial(n, 0.4, 0.3, state="finished") for n in range(3)]
    assert best_finished([*ended, trial(3, 0.1)]).number == 0
    assert finalists(ended) == 2
