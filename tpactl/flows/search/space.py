"""The search space: reads the YAML file, checks every key and value, and says what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tpactl.adapters.methods import FULL, METHODS, find
from tpactl.errors import UsageError, reason_of
from tpactl.formats.run import RunConfig
from tpactl.formats.search import Range, Space
from tpactl.formats.yaml_file import read_yaml
from tpactl.shipped import templates
from tpactl.train.same_training import MAY_CHANGE
from tpactl.train.settings import read, unknown, valid_keys

_SAME_IN_ALL = {
    "device",
    "precision",
    "training.seed",
    "training.max_minutes",
    "training.evaluations",
    "training.cached_prefix",
    "training.cached_copies",
}
"""Beside what changes no weight: what all trials share, or the search decides itself."""


def shipped_space() -> Path:
    """Return the file that is searched where none is given."""
    return templates() / "search.yaml"


def read_space(file: Path, config: RunConfig) -> Space:
    """Return what may vary, checked; sections of methods that are not searched are left out.

    Args:
        file: YAML; dotted keys of a run file, each with a list of values or a ``Range``.
        config: of the default trial.

    Raises:
        UsageError: with every key that is unknown or must not vary and every value that its key
            does not take.
    """
    tree = read_yaml(file, what="search space", flag="--space", may_be_empty=True)
    faults: list[str] = []
    space: Space = {}
    for key, given in tree.items():
        fault = _fault_of_key(key, str(file))
        if fault is None:
            space[key], found = _choice(key, given, config)
            faults += [f"{file}: {problem}" for problem in found]
        else:
            faults.append(fault)
    if faults:
        raise UsageError(
            faults[0],
            "correct the search space; tpactl init writes one that explains its form",
            faults[1:],
        )
    read_by_some = _sections([*_listed(space.get("method")), config.method])
    space = {key: choice for key, choice in space.items() if _section(key) in read_by_some}
    if not space:
        raise UsageError(
            f"{file}: names nothing that the method {config.method} reads",
            "give keys such as training.learning_rate, or another method",
        )
    return space


def check_defaults(space: Space, defaults: dict[str, Any]) -> None:
    """Refuse multiples of a default that is no number.

    Args:
        space: checked.
        defaults: dotted key to its value, every key decided.

    Raises:
        UsageError: with every such key.
    """
    faults = [
        f"{key}: times_default needs a number, and the default is {defaults[key]!r}"
        for key, choice in space.items()
        if isinstance(choice, Range)
        and choice.times_default
        and (isinstance(defaults[key], bool) or not isinstance(defaults[key], int | float))
    ]
    if faults:
        raise UsageError(faults[0], "give low and high without times_default", faults[1:])


def _fault_of_key(key: str, where: str) -> str | None:
    if key not in valid_keys():
        return unknown(key, where)
    if key in _SAME_IN_ALL | MAY_CHANGE:
        return f"{where}: {key} is the same in all trials, or the search decides it itself"
    return None


def _choice(key: str, given: Any, config: RunConfig) -> tuple[list[Any] | Range, list[str]]:
    """Return the values of ``key``, and what is wrong with them."""
    try:
        choice: list[Any] | Range = msgspec.convert(given, list[Any] | Range)
    except msgspec.ValidationError as error:
        return [], [f"{key}: expected a list of values, or low and high: {reason_of(error)}"]
    if isinstance(choice, list):
        doubled = [value for n, value in enumerate(choice) if value in choice[:n]]
        faults = [fault for value in choice for fault in _fault_of_value(key, value, config)]
        if not choice:
            faults.append(f"{key}: the list of values is empty")
        if doubled:
            faults.append(f"{key}: {doubled[0]} is listed twice")
        return choice, faults
    if choice.low >= choice.high:
        return choice, [f"{key}: low is {choice.low}, not below high, {choice.high}"]
    if choice.low <= 0 and (choice.log or choice.times_default):
        return choice, [f"{key}: low is {choice.low}; log and times_default need it above 0"]
    if choice.times_default:
        return choice, []
    ends = (choice.low, choice.high)
    return choice, [fault for end in ends for fault in _fault_of_value(key, end, config)]


def _fault_of_value(key: str, value: Any, config: RunConfig) -> list[str]:
    if value is None:
        return [f"{key}: null is no value; leave the key out for its default"]
    if key == "method" and value == FULL:
        return [f"method: {FULL} has no adapter whose shape could be searched"]
    try:
        read(None, {key: value}, over=config)
    except UsageError as error:
        return [f"{error.problem} ({value!r})"]
    return []


def _listed(choice: list[Any] | Range | None) -> list[Any]:
    return choice if isinstance(choice, list) else []


def _sections(methods: Sequence[str]) -> set[str]:
    """Return the sections that any of ``methods`` reads, and those that belong to no method."""
    owned = {method.section for method in METHODS.values() if method.section}
    mine = {find(name).section for name in methods if name != FULL}
    every = {_section(key) for key in valid_keys()}
    return (every - owned) | {section for section in mine if section}


def _section(key: str) -> str:
    return key.partition(".")[0]
