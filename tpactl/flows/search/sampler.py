"""Draws the next configuration, by optuna's tree-structured Parzen estimator.

The estimator is rebuilt from the trials of ``search.json`` for every draw and seeded by the draw's
number, so a search that was killed draws what it would have drawn.

Source: Bergstra et al. 2011, "Algorithms for hyper-parameter optimization".
"""

from __future__ import annotations

import importlib
import random
import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from tpactl.errors import MachineError
from tpactl.formats.search import DEFAULT, Range, Space, Trial

AT_RANDOM = 6
"""Trials before the estimator has something to learn from. They stay near the default, which was
tried out on other data: of each, about half of the keys keep its value."""

_TRIES = 50
"""Draws until one is found that was not tried yet."""

_CER_SHARE = 1e-3
"""Of CER in the one number that the estimator is told: it parts trials of equal WER."""


def require_optuna() -> ModuleType:
    """Return optuna, told to be quiet.

    Raises:
        MachineError: it is not installed.
    """
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        raise MachineError(
            "tpactl search needs the Python package optuna, which is not installed",
            "pip install 'tpactl[search]'",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def draw(
    space: Space, defaults: Mapping[str, Any], trials: Sequence[Trial], seed: int
) -> dict[str, Any] | None:
    """Return the settings of the next trial, ``None`` where nothing new was found.

    Args:
        space: checked.
        defaults: dotted key to its value, every key decided.
        trials: all before.
        seed: of the search.

    Returns:
        Dotted key to value, of what differs from the default.
    """
    optuna = require_optuna()
    axes = {key: _Axis(choice, defaults[key]) for key, choice in space.items()}
    distributions = {key: axis.distribution(optuna) for key, axis in axes.items()}
    tried = [trial.settings for trial in trials]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for attempt in range(_TRIES):
            number = (seed * 100_003 + len(trials)) * _TRIES + attempt
            sampler = optuna.samplers.TPESampler(
                seed=number,
                n_startup_trials=AT_RANDOM,
                multivariate=True,
            )
            study = optuna.create_study(sampler=sampler)
            study.add_trials(_told(optuna, trials, axes, defaults, distributions))
            asked = study.ask(distributions).params
            values = {key: axes[key].value(point) for key, point in asked.items()}
            settings = {key: value for key, value in values.items() if value != defaults[key]}
            if len(trials) < AT_RANDOM:
                settings = _nearer(settings, axes, defaults, number)
            if settings not in tried:
                return settings
    return None


class _Axis:
    """One key of a space as the estimator sees it: numbers, or places in a list."""

    def __init__(self, choice: list[Any] | Range, default: Any) -> None:
        self.choice = choice
        self.factor = default if isinstance(choice, Range) and choice.times_default else 1
        self.is_ordered = isinstance(choice, list) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in choice
        )
        self.values = sorted(choice) if isinstance(choice, list) and self.is_ordered else choice

    @property
    def is_whole(self) -> bool:
        choice = self.choice
        assert isinstance(choice, Range)
        return (
            isinstance(choice.low, int)
            and isinstance(choice.high, int)
            and not choice.times_default
        )

    def distribution(self, optuna: ModuleType) -> Any:
        """Return optuna's record of this axis."""
        kinds = optuna.distributions
        if isinstance(self.values, list):
            last = len(self.values) - 1
            if self.is_ordered:
                return kinds.IntDistribution(0, last)
            return kinds.CategoricalDistribution(range(last + 1))
        kind = kinds.IntDistribution if self.is_whole else kinds.FloatDistribution
        return kind(self.values.low, self.values.high, log=self.values.log)

    def value(self, point: Any) -> Any:
        """Return the setting at ``point``; three digits of a number are enough to tell it by."""
        if isinstance(self.values, list):
            return self.values[point]
        return point if self.is_whole else float(f"{point * self.factor:.3g}")

    def point(self, value: Any) -> Any | None:
        """Return where ``value`` lies, ``None`` where it lies outside."""
        if isinstance(self.values, list):
            return self.values.index(value) if value in self.values else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        low, high = self.values.low, self.values.high
        point = value / self.factor
        # Rounded to three digits, an end may lie a little outside.
        inside = low * (1 - 1e-2) <= point <= high * (1 + 1e-2)
        return min(max(type(low)(point), low), high) if inside else None


def _nearer(
    settings: dict[str, Any], axes: Mapping[str, _Axis], defaults: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return ``settings`` without about half of the keys whose default lies in the space."""
    chance = random.Random(seed)
    kept = {key for key in settings if chance.random() < 0.5}
    kept |= {key for key in settings if axes[key].point(defaults[key]) is None}
    return {key: value for key, value in settings.items() if key in kept}


def _told(
    optuna: ModuleType,
    trials: Sequence[Trial],
    axes: Mapping[str, _Axis],
    defaults: Mapping[str, Any],
    distributions: Mapping[str, Any],
) -> list[Any]:
    """Return ``trials`` as the estimator reads them: those that failed are the worst."""
    states = optuna.trial.TrialState
    told = []
    for trial in trials:
        points = {
            key: axis.point(trial.settings.get(key, defaults[key])) for key, axis in axes.items()
        }
        if None in points.values():  # the default may lie outside the space
            assert trial.number == DEFAULT, trial
            continue
        is_done = trial.state == "finished"
        values = [score.wer + _CER_SHARE * score.cer for score in trial.scores]
        told.append(
            optuna.trial.create_trial(
                state=states.COMPLETE if is_done else states.PRUNED,
                value=values[-1] if is_done else None,
                params=points,
                distributions=dict(distributions),
                intermediate_values=dict(enumerate(values)),
            )
        )
    return told
