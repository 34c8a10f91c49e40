"""The next configuration."""

from __future__ import annotations

import math
import sys

import pytest

from tpactl.errors import MachineError
from tpactl.flows.search.sampler import draw
from tpactl.formats.search import Range, Trial, TrialScore

SPACE = {
    "blocks": ["all", [6, 7], "upper-half"],
    "width": [64, 16, 32],
    "rate": Range(low=0.1, high=10, log=True, times_default=True),
    "epochs": Range(low=1, high=9),
    "dropout": Range(low=0.0, high=0.5),
}
DEFAULTS = {"blocks": "all", "width": 32, "rate": 1e-3, "epochs": 20, "dropout": 0.0}


def ended(number: int, settings: dict, wer: float = 0.5) -> Trial:
    scores = [TrialScore(wer=wer, cer=wer / 2)]
    return Trial(number=number, settings=settings, state="finished", scores=scores)


def drawn(count: int, seed: int = 0, space=SPACE, defaults=DEFAULTS, wer=lambda s: 0.5) -> list:
    trials = [ended(0, {})]
    while len(trials) <= count:
        settings = draw(space, defaults, trials, seed)
        assert settings is not None
        trials.append(ended(len(trials), settings, wer(settings)))
    return [trial.settings for trial in trials[1:]]


def test_every_value_lies_in_the_space_and_what_equals_the_default_is_not_named():
    for settings in drawn(20):
        assert settings.get("blocks") in (None, [6, 7], "upper-half")
        assert settings.get("width") in (None, 64, 16)
        assert 0.99e-4 <= settings.get("rate", 1e-3) <= 1.01e-2
        assert settings["epochs"] in range(1, 10)  # the default, 20, lies outside
        assert 0 <= settings.get("dropout", 0) <= 0.5


def test_the_same_search_draws_the_same_again_and_another_seed_does_not():
    assert drawn(10) == drawn(10)
    assert drawn(10) != drawn(10, seed=1)


def test_nothing_is_drawn_twice_and_an_exhausted_space_says_so():
    space, defaults = {"width": [16, 32, 64], "on": [True, False]}, {"width": 32, "on": True}
    tried = drawn(5, space=space, defaults=defaults)
    assert len({str(settings) for settings in tried}) == 5
    trials = [ended(n, settings) for n, settings in enumerate([{}, *tried])]
    assert draw(space, defaults, trials, 0) is None


def test_it_learns_where_the_good_ones_lie():
    space = {"rate": Range(low=1e-4, high=1.0, log=True)}

    def wer(settings: dict) -> float:
        return abs(math.log10(settings.get("rate", 1e-4) / 1e-2))

    tried = drawn(30, space=space, defaults={"rate": 1e-4}, wer=wer)
    # At random it would be 1, the mean distance from the middle of four decades.
    assert sum(map(wer, tried[20:])) / 10 < 0.75


def test_trials_that_failed_or_wait_are_told_too():
    trials = [
        ended(0, {}),
        Trial(number=1, settings={"epochs": 3}, state="failed", reason="exploded"),
        Trial(
            number=2,
            settings={"epochs": 4, "rate": 1.01e-2},
            state="waiting",
            scores=[TrialScore(wer=0.4, cer=0.2)],
        ),
    ]
    assert draw(SPACE, DEFAULTS, trials, 0) is not None


def test_without_optuna_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MachineError, match="optuna, which is not installed") as raised:
        draw(SPACE, DEFAULTS, [ended(0, {})], 0)
    assert raised.value.fix == "pip install 'tpactl[search]'"


def test_the_first_ones_stay_near_the_default():
    kept = [len(DEFAULTS) - len(settings) for settings in drawn(5)]
    later = [len(DEFAULTS) - len(settings) for settings in drawn(20)[10:]]
    assert sum(kept) / len(kept) > 2
    assert sum(kept) / len(kept) > sum(later) / len(later)
