"""Places for unfinished work beside where it will stand, and clearing those of dead processes.

PARENT/.building-<hex>         a file or folder that is being written
PARENT/.building-<hex>.lock    held by the process that writes it

A process that is killed leaves both, and the system lets go of its lock. So whoever starts work in
the same folder next can tell what is dead from what is being written beside it.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BUILDING_PREFIX = ".building-"
"""Names that begin so are unfinished."""
_LOCK_SUFFIX = ".lock"


@contextmanager
def unfinished(parent: Path) -> Iterator[Path]:
    """Yield a path in ``parent`` where nothing is yet; what is there in the end is deleted.

    What dead processes left in ``parent`` is deleted first.

    Raises:
        OSError: ``parent`` cannot be written.
    """
    from filelock import FileLock

    clear_dead(parent)
    building = parent / f"{BUILDING_PREFIX}{secrets.token_hex(8)}"
    lock = FileLock(building.with_name(building.name + _LOCK_SUFFIX))
    # A file system without locks raises NotImplementedError; what is left there is never cleared.
    with suppress(NotImplementedError):
        # Before anything is written: from then on only a dead process's lock can be had.
        lock.acquire()
    try:
        yield building
    finally:
        _remove(building)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def clear_dead(parent: Path) -> None:
    """Delete the unfinished work of processes that are no more; that of living ones stays."""
    from filelock import FileLock, Timeout

    for held in parent.glob(f"{BUILDING_PREFIX}*{_LOCK_SUFFIX}"):
        lock = FileLock(held)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError, NotImplementedError):
            continue  # Alive, or somebody else's.
        try:
            _remove(held.with_name(held.name.removesuffix(_LOCK_SUFFIX)))
            # Its name is random and never used again, so nobody waits for it.
            held.unlink(missing_ok=True)
        finally:
            lock.release()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
