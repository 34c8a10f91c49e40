"""Read a policy file; every fault of it is named at once, unknown rules with the nearest name."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tpactl.errors import UsageError
from tpactl.formats.gate import Policy, PolicyUsed
from tpactl.formats.yaml_file import read_record

_EXPLAINED = "tpactl init writes a policy.yaml that explains every rule"


def read_policy(path: Path) -> PolicyUsed:
    """Return the policy in ``path``.

    Raises:
        UsageError: it cannot be read, is no YAML, or holds an unknown rule, a limit that cannot be,
            or no rule at all.
    """
    fix = f"correct the policy; {_EXPLAINED}"
    policy, digest = read_record(path, Policy, what="policy", flag="--policy", fix=fix, key="rule")
    if all(value is None for value in msgspec.structs.astuple(policy)):
        raise UsageError(f"{path}: every rule is null, so nothing is asked", _EXPLAINED)
    return PolicyUsed(file=path.name, digest=digest, content=policy)
