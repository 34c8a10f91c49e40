"""Read a policy file; every fault of it is named at once, unknown rules with the nearest name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tpactl.errors import UsageError
from tpactl.formats.files import sha256_of
from tpactl.formats.gate import Policy, PolicyUsed

_EXPLAINED = "tpactl init writes a policy.yaml that explains every rule"


def read_policy(path: Path) -> PolicyUsed:
    """Return the policy in ``path``.

    Raises:
        UsageError: it cannot be read, is no YAML, or holds an unknown rule, a limit that cannot be,
            or no rule at all.
    """
    try:
        content = path.read_bytes()
        tree = yaml.safe_load(content.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror or error}", f"check --policy; {_EXPLAINED}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise UsageError(f"{path}: not YAML: {line}", f"correct the file; {_EXPLAINED}") from error
    if not isinstance(tree, dict) or not tree:
        found = "nothing" if not tree else f"a {type(tree).__name__}"
        raise UsageError(f"{path}: expected rules with their limits, found {found}", _EXPLAINED)
    faults = _faults(tree)
    if faults:
        raise UsageError(f"{path}: {faults[0]}", f"correct the policy; {_EXPLAINED}", faults[1:])
    policy = msgspec.convert(tree, Policy)
    if all(value is None for value in msgspec.structs.astuple(policy)):
        raise UsageError(f"{path}: every rule is null, so nothing is asked", _EXPLAINED)
    digest = sha256_of(content)
    return PolicyUsed(file=path.name, digest=digest, content=policy)


def _faults(tree: dict[Any, Any]) -> list[str]:
    known = [field.name for field in msgspec.structs.fields(Policy)]
    faults = []
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.3)
            hint = f"the nearest is {near[0]}" if near else f"there are: {', '.join(known)}"
            faults.append(f"unknown rule {str(key)!r}; {hint}")
            continue
        try:
            msgspec.convert({key: value}, Policy)
        except msgspec.ValidationError as error:
            problem, _, place = str(error).partition(" - at ")
            where = place.strip("`").removeprefix("$.") or key
            faults.append(f"{where}: {problem[:1].lower()}{problem[1:]}, found {value!r}")
    return faults
