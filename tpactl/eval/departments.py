"""Utterances of many departments, each heard by the adapter of its own, as one system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tpactl.adapters.names import called
from tpactl.errors import InputError, UsageError
from tpactl.eval.systems import System
from tpactl.eval.testset import TestSet

if TYPE_CHECKING:
    from tpactl.adapters.adapter import Adapter
    from tpactl.adapters.together import Together

DEPARTMENTS = "departments"
"""How the system is called in the report."""


def owners(test_set: TestSet, column: str, systems: Sequence[System]) -> list[str | None]:
    """Return, for each utterance, the name of the system that hears it.

    Args:
        test_set: what is heard.
        column: of the metadata, which names the adapter as ``adapters.names`` allows.
        systems: adapters, all on one base.

    Returns:
        In the order of the utterances; ``None``, the base, where the column is empty.

    Raises:
        UsageError: no adapters, a model of its own among them, or no such column.
        InputError: utterances name no adapter, or one of several.
    """
    models = [system.name for system in systems if system.kind == "full"]
    if models or not systems:
        raise UsageError(
            f"{', '.join(models)}: a model of its own shares no batch with adapters"
            if models
            else f"no adapters for the utterances of {column}",
            "give the adapters of the departments: --package FILE or --run RUN",
        )
    columns = sorted({key for row in test_set.utterances for key in row.metadata})
    if column not in columns:
        raise UsageError(
            f"no column {column!r} in the test set; it has: {', '.join(columns) or 'none'}",
            "name the column that holds each utterance's adapter, and prepare the data with it",
        )
    names = [system.name for system in systems]
    values = [row.metadata.get(column, "") for row in test_set.utterances]
    meant = {value: called(value, names) for value in dict.fromkeys(values) if value}
    faults = [
        f"{column} {value!r} ({values.count(value)} utterances) is no single adapter"
        for value, found in meant.items()
        if len(found) != 1
    ]
    if faults:
        raise InputError(
            faults[0],
            f"give its adapter, or correct the column; adapters here: {', '.join(names)}",
            faults[1:],
        )
    return [meant[value][0] if value else None for value in values]


@dataclass(frozen=True)
class Departments:
    """The adapters on a loaded base, and who hears which utterance.

    Attributes:
        together: the adapters.
        owners: of each utterance of the test set; ``None`` is the base.
    """

    together: Together
    owners: Sequence[Adapter | None]
    name: str = DEPARTMENTS

    def rows(self, indices: Sequence[int]) -> list[Adapter | None]:
        """Return the adapter of each utterance of a batch."""
        return [self.owners[index] for index in indices]

    @property
    def examples(self) -> list[int]:
        """One utterance of each owner."""
        return [self.owners.index(owner) for owner in dict.fromkeys(self.owners)]
