"""Several batches at a time on a CPU: each core computes one of its own.

Threads that share one matrix product wait for each other at its end, and there are hundreds in a
batch; threads with a batch each wait for nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

import torch

from tpactl.bases.base import Base
from tpactl.bases.load import twin

W = TypeVar("W")
T = TypeVar("T")
R = TypeVar("R")

MOST = 8
"""Twins at most; with more cores than that, each gets several."""


def twins(base: Base) -> list[Base]:
    """Return the base, and twins of it so that each core of a CPU has one to itself.

    They share their weights: one more costs what a batch computes on the way.
    """
    cores = torch.get_num_threads() if base.device.type == "cpu" else 1
    return [base, *(twin(base) for _ in range(min(cores, MOST) - 1))]


def side_by_side(
    workers: Sequence[W], work: Callable[[W, T], R], items: Iterable[T]
) -> Iterator[R]:
    """Yield ``work(worker, item)`` of all items in their order, a thread a worker.

    As many items as there are workers are under way at most. An error of one is raised in its turn.

    Args:
        workers: no two threads have the same at a time.
        work: called in the threads, which share torch's threads evenly.
        items: taken one by one.
    """
    idle: SimpleQueue[W] = SimpleQueue()
    for worker in workers:
        idle.put(worker)
    threads = torch.get_num_threads()

    def run(item: T) -> R:
        torch.set_num_threads(max(1, threads // len(workers)))  # of this thread
        worker = idle.get()
        try:
            return work(worker, item)
        finally:
            idle.put(worker)

    waiting = iter(items)
    with ThreadPoolExecutor(max_workers=len(workers)) as pool:
        coming: deque[Future[R]] = deque()
        try:
            coming.extend(pool.submit(run, item) for item in islice(waiting, len(workers)))
            while coming:
                done = coming.popleft().result()
                coming.extend(pool.submit(run, item) for item in islice(waiting, 1))
                yield done
        finally:
            for future in coming:
                future.cancel()
            torch.set_num_threads(threads)
