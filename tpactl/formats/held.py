"""A folder that one process at a time works in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tpactl.errors import TpactlError
from tpactl.formats.files import cannot_write

if TYPE_CHECKING:
    from filelock import BaseFileLock


def hold(folder: Path, name: str, busy: TpactlError) -> BaseFileLock:
    """Make ``folder`` if need be and return its lock, held; the caller releases it.

    The system lets go of the lock of a process that is killed.

    Args:
        folder: where this process will work.
        name: of the lock's file in it.
        busy: raised where another process holds it.

    Raises:
        MachineError: the folder cannot be made or written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / name)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise busy from error
    except OSError as error:
        raise cannot_write(folder, error) from error
    return lock
