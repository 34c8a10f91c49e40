"""Every error a user can cause or meet, with the exit code it leaves by.

    TpactlError                 1   (a bare one is a bug of ours; raise a child)
    ├── UsageError              2   the command line or a configuration value
    ├── InputError              3   audio, text, manifest, data set, run folder
    ├── BaseError               4   the wrong base, or a base that cannot be adapted
    ├── IntegrityError          5   a digest, a signature, a part missing or added
    ├── MachineError            6   a missing extra, device, memory, disk
    └── GateError               7   the release gate says no

A room raises these; ``cli`` catches ``TpactlError`` once, prints two lines and leaves with
``exit_code``. Anything else that escapes is our bug and keeps its traceback.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any


class TpactlError(Exception):
    """A problem with its fix.

    Args:
        problem: what is wrong, with the offending value, where it is and what was expected.
        fix: one action that mends it.
        details: further faults of the same input, one line each, shown between the two.
    """

    exit_code = 1

    def __init__(self, problem: str, fix: str, details: Sequence[str] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix
        self.details = tuple(details)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it travel between processes whatever arguments a child class is made of."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


def reason_of(error: BaseException) -> str:
    """Return the first line of a library's error, for a problem that must stay one line."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


class UsageError(TpactlError):
    """The command line or a configuration value cannot be used."""

    exit_code = 2


class InputError(TpactlError):
    """Audio, text, a manifest, a data set or a run folder is not what it must be."""

    exit_code = 3


class BaseError(TpactlError):
    """The base model is another one than expected, or has no blocks an adapter fits."""

    exit_code = 4


class IntegrityError(TpactlError):
    """Content differs from its digest, or a part is missing or was added."""

    exit_code = 5


class MachineError(TpactlError):
    """The machine lacks something: an extra, a device, memory, disk."""

    exit_code = 6


class GateError(TpactlError):
    """The release gate's policy is not met."""

    exit_code = 7
