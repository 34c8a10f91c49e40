"""Ends a search: the best trial confirmed, the run file, the table and the picture written."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec

from tpactl.errors import MachineError
from tpactl.flows.search import halving
from tpactl.flows.search.confirm import confirm
from tpactl.flows.search.picture import save_png
from tpactl.flows.search.table import described, markdown
from tpactl.flows.search.watcher import Watcher
from tpactl.formats.files import write_bytes, write_json
from tpactl.formats.run import Run
from tpactl.formats.search import (
    BEST,
    DEFAULT,
    PLOT,
    RECORD,
    TABLE,
    SearchRecord,
    trial_folder,
)
from tpactl.train.settings import write as run_file


def conclude(record: SearchRecord, out: Path, watcher: Watcher) -> SearchRecord:
    """Confirm the best trial, and write what is left of the search.

    Args:
        record: of a search that has ended; its default trial is finished.
        out: the search's folder.
        watcher: told how hearing the confirming speakers goes.

    Returns:
        The record with its outcome, as it is written.

    Raises:
        TpactlError: as ``eval`` raises it, or the disk is full.
    """
    started = time.monotonic()
    best = halving.best_finished(record.trials).number
    found = record.confirmation
    if found is None or found.trial != best:
        watcher.note("")
        found = confirm(
            out,
            out / "data",
            best,
            base=record.config.base,
            device=record.config.device,
            on_progress=watcher,
        )
    record = msgspec.structs.replace(
        record,
        confirmation=found,
        best=best if found.is_confirmed else DEFAULT,
        seconds=round(record.seconds + time.monotonic() - started, 3),
    )
    write_bytes(out / BEST, _best_file(record, out).encode())
    try:
        save_png(record, out / PLOT)
    except MachineError as error:
        note = f"{error.problem}: {error.fix}"
        record = msgspec.structs.replace(record, notes=[*dict.fromkeys([*record.notes, note])])
    write_bytes(out / TABLE, markdown(record).encode())
    write_json(out / RECORD, record)
    # Gigabytes, and only trials that share the search's data could use them again.
    shutil.rmtree(out / "prefix", ignore_errors=True)
    return record


def _best_file(record: SearchRecord, out: Path) -> str:
    """Return the run file of the best trial, for the whole data set it was searched on."""
    assert record.best is not None
    trial = record.trials[record.best]
    used, given = Run(trial_folder(out, trial.number)).record.config, record.config
    config = msgspec.structs.replace(
        used,
        data=given.data,
        base=given.base,
        device=given.device,
        precision=given.precision,
        training=msgspec.structs.replace(used.training, cache_dir=given.training.cache_dir),
    )
    return (
        f"# Found by tpactl search, trial {trial.number}: {described(trial)}.\n{run_file(config)}"
    )
