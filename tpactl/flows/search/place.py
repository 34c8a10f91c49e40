"""The folder of a search: one process at a time, continued or begun anew, never another's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tpactl.errors import InputError, UsageError
from tpactl.formats.files import to_builtins
from tpactl.formats.held import hold
from tpactl.formats.run import dotted
from tpactl.formats.search import RECORD, SearchRecord
from tpactl.train.same_training import MAY_CHANGE, differences

_LOCK = ".search.lock"
"""Also the mark of a folder that a search began, before there is a record."""


@contextmanager
def search_folder(out: Path, *, force: bool) -> Iterator[None]:
    """Hold ``out`` for one search; it goes again where not even a record comes of it.

    Args:
        out: is made if need be.
        force: throw away the search that is there.

    Raises:
        InputError: something else is there, or another process searches there.
        MachineError: the folder cannot be written.
    """
    is_search = (out / RECORD).is_file() or (out / _LOCK).is_file()
    if out.exists() and not is_search and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"{out} exists and is no search (it has no {RECORD})", "choose another --out"
        )
    busy = InputError(
        f"another process is searching in {out}", "wait until it is done, or choose another --out"
    )
    lock = hold(out, _LOCK, busy)
    try:
        if force and is_search:
            # The record goes last: what a kill leaves is still known for a search.
            for entry in sorted(out.iterdir(), key=lambda entry: entry.name == RECORD):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                elif entry.name != _LOCK:
                    entry.unlink()
        yield
    finally:
        if not (out / RECORD).is_file():
            shutil.rmtree(out, ignore_errors=True)
        lock.release()


def refuse_another(begun: SearchRecord, now: SearchRecord) -> None:
    """Refuse to continue a search as another one.

    Raises:
        UsageError: data, base, space or settings differ; each is named, old and new.
    """
    faults = differences(_identity(begun), _identity(now))
    if faults:
        raise UsageError(
            f"the search that is there is another one: {faults[0]}",
            "give the options it began with, choose another --out, or begin anew with --force",
            faults[1:],
        )


def _identity(record: SearchRecord) -> dict[str, Any]:
    settings = {key: value for key, value in dotted(record.config).items() if key not in MAY_CHANGE}
    space = {f"space {key}": value for key, value in to_builtins(record.space).items()}
    return {
        **settings,
        **space,
        "data": record.data_digest,
        "base": record.base_digest,
        "rungs": record.rungs,
    }
