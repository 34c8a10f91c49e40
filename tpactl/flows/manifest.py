"""A table of recordings, each with the adapter of its department: CSV, or JSON lines as NeMo's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpactl.errors import InputError
from tpactl.prepare.text import Row, rows, shown

AUDIO_COLUMNS = ("audio_filepath", "file")
"""Either names the recording, as seen from the table's folder."""
ADAPTER_COLUMN = "adapter"


@dataclass(frozen=True)
class Recording:
    """One row of the table.

    Attributes:
        audio: where it lies.
        adapter: as the row names it; empty for the base alone.
        where: table and line, for messages.
    """

    audio: Path
    adapter: str
    where: str


def read_manifest(table: Path) -> list[Recording]:
    """Return the rows of ``table``, in its order.

    Raises:
        InputError: it cannot be read, or rows lack a recording or the column of the adapter: an
            adapter that is not applied because of a misspelt column must not happen.
    """
    found, faults = [], []
    for row in rows(table):
        where = f"{table.name} line {row.line}"
        fault = row.fault or _fault(row)
        if fault is not None:
            faults.append(f"{where}: {fault}")
            continue
        name = next(row.values[column] for column in AUDIO_COLUMNS if column in row.values)
        adapter = str(row.values[ADAPTER_COLUMN] or "").strip()
        found.append(Recording(table.parent / name.strip(), adapter, where))
    if faults or not found:
        raise InputError(
            f"{table}: {faults[0] if faults else 'no recordings in it'}",
            f"write the columns {AUDIO_COLUMNS[0]},{ADAPTER_COLUMN} and one recording a row; an "
            "empty adapter means the base alone",
            faults[1:],
        )
    return found


def _fault(row: Row) -> str | None:
    named = [column for column in AUDIO_COLUMNS if column in row.values]
    missing = [] if named else [" or ".join(AUDIO_COLUMNS)]
    if ADAPTER_COLUMN not in row.values:
        missing.append(ADAPTER_COLUMN)
    if missing:
        has = ", ".join(shown(name) for name in row.values if name) or "none"
        return f"no column {' and no column '.join(missing)}; it has {has}"
    if len(named) > 1:
        return f"both {' and '.join(named)} name a recording"
    name, adapter = row.values[named[0]], row.values[ADAPTER_COLUMN]
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return f"{named[0]} is {name!r}; a file's name is expected"
    if not isinstance(adapter, str | None):
        return f"{ADAPTER_COLUMN} is {adapter!r}; a name is expected"
    return None
