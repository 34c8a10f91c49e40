"""Reads the inputs of coming steps while the device computes the present one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from tpactl.bases.base import Features

STEPS_AHEAD = 4


class Ahead:
    """Inputs by step, a few of them read beforehand in one thread.

    Args:
        read: returns a step's inputs; they depend on the step alone, never on the order of calls.
        num_steps: of the training.
        depth: steps read beforehand; 0 reads each when it is asked for.
    """

    def __init__(self, read: Callable[[int], Features], num_steps: int, depth: int) -> None:
        self._read = read
        self._num_steps = num_steps
        self._depth = depth
        self._reader = ThreadPoolExecutor(1, "read-ahead") if depth else None
        self._coming: dict[int, Future[Features]] = {}

    def get(self, step: int) -> Features:
        """Return the step's inputs, and have those of the steps behind it read.

        Raises:
            InputError: audio cannot be read any more.
        """
        if self._reader is None:
            return self._read(step)
        last = min(step + self._depth, self._num_steps - 1)
        for coming in range(step, last + 1):
            if coming not in self._coming:
                self._coming[coming] = self._reader.submit(self._read, coming)
        return self._coming.pop(step).result()

    def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
        self._coming.clear()
