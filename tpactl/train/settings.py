"""The run file: reads it, lays the command line over it, and says which key is wrong.

Reads a YAML file with the keys of ``formats.run.RunConfig``; writes nothing. No torch here, so the
command line can refuse a bad key at once.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from tpactl.adapters.settings import check, check_read
from tpactl.errors import UsageError
from tpactl.formats.augment import AugmentSettings
from tpactl.formats.files import to_builtins
from tpactl.formats.run import RunConfig
from tpactl.formats.yaml_file import Dumper, Loader, Tree, read_yaml


def read(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    over: RunConfig | None = None,
) -> RunConfig:
    """Return the run configuration: the file, then the flags over it, then each ``key=value``.

    Args:
        file: a YAML run file, or ``None`` for the defaults.
        flags: dotted key to value; a value of ``None`` was not given and changes nothing.
        overrides: ``training.seed=3`` and the like, as given to ``--set``.
        over: what counts where none of them says anything, in place of the defaults.

    Raises:
        UsageError: an unknown key (with the closest valid one) or a value of the wrong type; all
            faults are gathered. Also a key given to ``--set`` that the chosen method does not read.
    """
    tree: Tree = {}
    if file is not None:
        tree = read_yaml(file, what="run file", flag="--config", may_be_empty=True)
    faults = _unknown_keys(tree, str(file))
    for key, value in (flags or {}).items():
        if value is not None:
            _put(tree, key, value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            faults.append(f"--set {override}: expected key=value")
        elif key not in valid_keys():
            faults.append(unknown(key, "--set"))
        else:
            _put(tree, key, _scalar(text))
    if faults:
        raise UsageError(
            faults[0],
            "correct the key; tpactl init writes a run file that names the usual ones",
            faults[1:],
        )
    config = _convert(tree if over is None else _laid_over(to_builtins(over), tree))
    check(config)
    named = [override.partition("=")[0] for override in overrides]
    check_read(config.method, named)
    _check_augment(config.augment, named)
    return config


def write(config: RunConfig) -> str:
    """Return ``config`` as the text of a run file; reading it gives an equal configuration."""
    body: str = yaml.dump(to_builtins(config), Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return (
        "# Every setting of this run, resolved. Train it again: tpactl train --config THIS\n" + body
    )


def _check_augment(augment: AugmentSettings, named: Sequence[str]) -> None:
    """Refuse what cannot be drawn from, and what was asked for by name but nothing would read."""
    low, high = augment.noise_snr_db
    faults = []
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        faults.append(f"augment.noise_snr_db is [{low:g}, {high:g}]: the lower ratio comes first")
    sources = {"noise": augment.noise, "rir": augment.rir, "telephone": augment.telephone}
    for name, source in sources.items():
        unread = [key for key in named if key.startswith(f"augment.{name}_")]
        if unread and not source:
            faults.append(f"{', '.join(unread)}: nothing reads it while augment.{name} is not set")
    if faults:
        raise UsageError(faults[0], "correct the keys under augment, or leave them out", faults[1:])


def _scalar(text: str) -> Any:
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError:
        return text


def _put(tree: Tree, key: str, value: Any) -> None:
    *groups, last = key.split(".")
    for group in groups:
        inner = tree.get(group)
        if not isinstance(inner, dict):
            inner = tree[group] = {}
        tree = inner
    tree[last] = value


def _laid_over(below: Tree, above: Tree) -> Tree:
    """Return ``below`` with every value that ``above`` has, ``null`` aside: it decides nothing."""
    laid = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(laid.get(key), dict):
            laid[key] = _laid_over(laid[key], value)
        elif value is not None:
            laid[key] = value
    return laid


def _groups() -> dict[str, type[msgspec.Struct]]:
    """Return the sections of a run file: field name to the record that holds its keys."""
    return {
        field.name: field.type
        for field in msgspec.structs.fields(RunConfig)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }


def valid_keys() -> list[str]:
    """Return every settable key, dotted."""
    groups = _groups()
    keys = []
    for field in msgspec.structs.fields(RunConfig):
        if field.name in groups:
            inner = msgspec.structs.fields(groups[field.name])
            keys += [f"{field.name}.{setting.name}" for setting in inner]
        else:
            keys.append(field.name)
    return keys


def _unknown_keys(tree: Tree, where: str) -> list[str]:
    groups, valid, faults = _groups(), set(valid_keys()), []
    for key, value in tree.items():
        if key in groups and isinstance(value, dict):
            dotted: Iterable[str] = (f"{key}.{inner}" for inner in value)
            faults += [unknown(name, where) for name in dotted if name not in valid]
        elif key not in groups and key not in valid:
            faults.append(unknown(key, where))
    return faults


def unknown(key: str, where: str) -> str:
    """Return a sentence: that ``key`` is unknown and which key was probably meant.

    A key without its section (``learning_rate``) is compared with the last part of each key.
    """
    valid = valid_keys()
    by_last = {name.rpartition(".")[2]: name for name in valid}
    close = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    last = difflib.get_close_matches(key.rpartition(".")[2], by_last, n=1, cutoff=0.75)
    best = by_last[last[0]] if last else close[0] if close else None
    guess = f"; the closest is {best}" if best else f"; valid keys: {', '.join(valid)}"
    return f"{where}: unknown key {key}{guess}"


def _convert(tree: Tree) -> RunConfig:
    try:
        return msgspec.convert(tree, RunConfig)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at ")
        key = place.strip("`").removeprefix("$.") or "the run file"
        # Of words to choose from, msgspec says itself which was given.
        given = "" if problem.startswith("Invalid enum value") else _given(tree, place)
        raise UsageError(
            f"{key}: {problem[0].lower()}{problem[1:]}{given}{_choices(key)}",
            f"give {key} a valid value in the run file, a flag or with --set",
        ) from error


def _given(tree: Tree, place: str) -> str:
    """Return what to say of the value at ``place``, such as ``$.augment.noise_snr_db[0]``."""
    value: Any = tree
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", place):
        value = value[name] if name else value[int(index)]
    return "" if isinstance(value, dict | list) else f", given {value!r}"


def _choices(key: str) -> str:
    """Name the allowed words of ``key`` where its type lists them."""
    group, _, name = key.partition("[")[0].rpartition(".")
    record = _groups().get(group, RunConfig)
    for field in msgspec.structs.fields(record):
        if field.name == name:
            words = _words(field.type)
            return f"; words it takes: {', '.join(dict.fromkeys(words))}" if words else ""
    return ""


def _words(kind: Any) -> list[str]:
    parts = get_args(kind)
    inner = [word for part in parts if not isinstance(part, str) for word in _words(part)]
    return [part for part in parts if isinstance(part, str)] + inner
