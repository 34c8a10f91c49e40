"""One voice for a command that several processes run together under ``torchrun``.

Until they have met, all of them find the same faults and the first one says so. Afterwards the one
that fails first speaks, and the others end without a word.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from tpactl.errors import TpactlError

if TYPE_CHECKING:
    from tpactl.train.ranks import Ranks


@contextmanager
def first_speaks() -> Iterator[None]:
    """Let an error of the block through in the first process only."""
    try:
        yield
    except TpactlError as error:
        # Set by every launcher; absent without one.
        if os.environ.get("RANK", "0") == "0":
            raise
        raise typer.Exit(error.exit_code) from error


@contextmanager
def one_speaks(ranks: Ranks) -> Iterator[None]:
    """Let an error of the block through in the process that failed first."""
    from tpactl.train.ranks import OtherProcessError

    try:
        with ranks.one_speaks():
            yield
    except OtherProcessError as error:
        raise typer.Exit(error.exit_code) from error
