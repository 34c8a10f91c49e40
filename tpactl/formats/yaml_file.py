"""YAML files that a person writes: read strictly, with every fault named at once."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from tpactl.errors import TpactlError, UsageError
from tpactl.formats.files import sha256_of

T = TypeVar("T", bound=msgspec.Struct)
Tree = dict[str, Any]


class Loader(yaml.SafeLoader):
    """Reads ``1e-3`` as a number; YAML 1.1 takes it for text, because it has no dot.

    A key that stands twice is an error, as the specification wants; PyYAML keeps the last one.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of ``node``."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class Dumper(yaml.SafeDumper):
    """Quotes the text ``1e-3``, which ``Loader`` would take for a number."""


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
for _yaml in (Loader, Dumper):
    _yaml.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def read_yaml(
    file: Path,
    *,
    what: str,
    flag: str,
    fix: str | None = None,
    may_be_empty: bool = False,
    error: type[TpactlError] = UsageError,
) -> Tree:
    """Return the mapping in a YAML file; ``1e-3`` is a number.

    Args:
        file: to read.
        what: it should be, for messages.
        flag: it was given to.
        fix: what to do about another content; to correct it without this.
        may_be_empty: an empty file is an empty mapping.
        error: raised in place of a UsageError.

    Raises:
        UsageError: or ``error``: it cannot be read, or is no mapping.
    """
    content = _content(file, flag, error)
    return _mapping(content, file, what, fix or f"correct the {what}", may_be_empty, error)


def read_record(
    file: Path,
    kind: type[T],
    *,
    what: str,
    flag: str,
    fix: str,
    key: str = "key",
    error: type[TpactlError] = UsageError,
) -> tuple[T, str]:
    """Return the record in a YAML file, and ``sha256:<hex>`` of the bytes it was read from.

    Args:
        file: to read.
        kind: of the record.
        what: it should be, for messages.
        flag: it was given to.
        fix: what to do about faults.
        key: what a key of it is called.
        error: raised in place of a UsageError.

    Raises:
        UsageError: or ``error``: as ``read_yaml``; or keys that are unknown, the nearest named, and
            values that cannot be, all of them.
    """
    content = _content(file, flag, error)
    tree = _mapping(content, file, what, fix, False, error)
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    faults = []
    for name, value in tree.items():
        if name not in types:
            near = difflib.get_close_matches(name, types, n=1, cutoff=0.3)
            hint = f"the nearest is {near[0]}" if near else f"there are: {', '.join(types)}"
            faults.append(f"unknown {key} {name!r}; {hint}")
            continue
        try:
            msgspec.convert(value, types[name])
        except msgspec.ValidationError as caught:
            problem, _, place = str(caught).partition(" - at ")
            where = name + place.strip("`").removeprefix("$")
            faults.append(f"{where}: {problem[:1].lower()}{problem[1:]}, found {value!r}")
    if faults:
        raise error(f"{file}: no {what}: {faults[0]}", fix, faults[1:])
    try:
        return msgspec.convert(tree, kind), sha256_of(content)
    except msgspec.ValidationError as caught:
        raise error(f"{file}: no {what}: {caught}", fix) from caught


def _content(file: Path, flag: str, error: type[TpactlError]) -> bytes:
    try:
        return file.read_bytes()
    except OSError as caught:
        reason = caught.strerror or caught
        fix = f"check the path given to {flag}"
        raise error(f"{file}: cannot be read: {reason}", fix) from caught


def _mapping(
    content: bytes,
    file: Path,
    what: str,
    fix: str,
    may_be_empty: bool,
    error: type[TpactlError],
) -> Tree:
    try:
        tree = yaml.load(content.decode("utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as caught:
        reason = " ".join(str(caught).split())[:300]
        raise error(f"{file}: no {what}: not YAML: {reason}", fix) from caught
    if tree is None and may_be_empty:
        return {}
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else f"a {type(tree).__name__}"
        raise error(f"{file}: no {what}: found {found}", fix)
    return {str(key): value for key, value in tree.items()}
