"""What an error of a training says about going on: memory, disk, and what was saved until then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tpactl.errors import InputError, MachineError, TpactlError
from tpactl.formats.files import cannot_write, is_refusal_of_disk
from tpactl.formats.run import unfinished
from tpactl.train.folder import saved_step
from tpactl.train.loop import DivergedError
from tpactl.train.memory import is_out_of_memory, what_it_said

E = TypeVar("E", bound=TpactlError)


@contextmanager
def how_to_go_on(out: Path, device: str) -> Iterator[None]:
    """Let every error of the block name the fix, and the step that ``--resume`` goes on from.

    Args:
        out: where the finished run would go.
        device: where it computes.

    Raises:
        MachineError: in place of an error that says that memory ran out or the disk is full.
    """
    try:
        yield
    except DivergedError as error:
        # What was saved is of no use: the fix is another training.
        if saved_step(out) is not None:
            error.fix += " --force"
        raise
    except (InputError, MachineError) as error:
        _resumable(error, out)
        raise
    except OSError as error:
        if not is_refusal_of_disk(error):
            raise
        raise _resumable(cannot_write(unfinished(out), error), out) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        full = MachineError(
            f"{device} ran out of memory: {what_it_said(error)}",
            "add --set training.accumulate=2, which computes every batch in two halves",
        )
        raise _resumable(full, out) from error


def _resumable(error: E, out: Path) -> E:
    step = saved_step(out)
    if step is not None:
        error.fix += f"; with --resume it goes on from step {step}"
    return error
