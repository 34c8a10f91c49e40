"""The run folder while it is not whole: ``RUN.unfinished``, renamed to ``RUN`` at the very end.

So whatever stands at ``RUN`` is a finished run, and what a killed training leaves stands beside it
under a name that says so. See ``docs/decisions/unfinished-runs.md``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tpactl.errors import InputError
from tpactl.formats import checkpoint
from tpactl.formats.files import cannot_write, is_refusal_of_disk, put_in_place
from tpactl.formats.held import hold
from tpactl.formats.run import START, unfinished

_LOCK = ".lock"


def check_place(out: Path, *, force: bool, resume: bool = False) -> None:
    """Refuse, before any work, an ``out`` that cannot become a run folder.

    Args:
        out: where the finished run goes.
        force: replace the run there, and throw away an unfinished one.
        resume: continue an unfinished one; where there is none, the training starts.

    Raises:
        InputError: something is there that neither flag may touch.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _check_occupied(out, force=force, resume=resume)
    saved = checkpoint.folders(unfinished(out))
    if saved and not (force or resume):
        raise InputError(
            f"{unfinished(out)} holds an unfinished training, saved at step {_step(saved[-1])}",
            "continue it with --resume, or throw it away with --force",
        )


def _check_occupied(out: Path, *, force: bool, resume: bool) -> None:
    is_run = (out / "run.json").is_file()
    if force and not is_run:
        raise InputError(
            f"{out} exists and is no run (it has no run.json), so --force does not replace it",
            "choose another --out, or delete it yourself",
        )
    if resume and is_run:
        raise InputError(
            f"{out} is a finished run: there is nothing to resume",
            "use it, or choose another --out",
        )
    if not force:
        fix = "choose another --out"
        raise InputError(
            f"{out} exists already", f"{fix}, or replace the run with --force" if is_run else fix
        )


@contextmanager
def run_folder(out: Path, *, force: bool, resume: bool) -> Iterator[Path]:
    """Yield the unfinished folder, which becomes ``out`` when the block ends without an error.

    On an error or an interrupt it stays as it is where a checkpoint is in it, and goes otherwise.

    Args:
        out: where the finished run goes; ``check_place`` was content with it.
        force: replace the run at ``out``; throw away what an earlier training left.
        resume: keep what an earlier training left.

    Raises:
        InputError: another process trains for the same ``out``.
        MachineError: the disk is full or the folder cannot be written.
    """
    folder = unfinished(out)
    busy = InputError(
        f"another process is training for {out}", "wait until it is done, or choose another --out"
    )
    lock = hold(folder, _LOCK, busy)
    try:
        if not resume:
            _empty(folder)
        yield folder
        _publish(folder, out)
    except OSError as error:
        # Only what the disk refused; another OSError of the block keeps its own meaning.
        if is_refusal_of_disk(error):
            raise cannot_write(folder, error) from error
        raise
    finally:
        if folder.exists() and not checkpoint.folders(folder):
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def saved_step(out: Path) -> int | None:
    """Return the step of the newest checkpoint kept for ``out``, ``None`` where there is none."""
    saved = checkpoint.folders(unfinished(out))
    return _step(saved[-1]) if saved else None


def _publish(folder: Path, out: Path) -> None:
    put_in_place(folder, out)
    # Only now: until here a crash could still be resumed.
    shutil.rmtree(out / checkpoint.FOLDER, ignore_errors=True)
    for name in (START, _LOCK):
        (out / name).unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != _LOCK:
            Path(entry.path).unlink()


def _step(saved: Path) -> int:
    return int(saved.name.removeprefix("step-"))
