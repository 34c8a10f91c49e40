"""What a training costs: time, peak memory, and the cores it may use."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from tpactl.bases.resident import forget_resident_peak, resident_peak_bytes

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


class Meter:
    """Measures wall clock and peak memory from its making on.

    Args:
        device: ``cpu``, ``cuda``, ``mps``.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._start = time.perf_counter()
        self._peak_before = 0
        reset_peak(device)

    def resume(self, seconds: float, peak_memory_bytes: int) -> None:
        """Count on from what a training had cost when it was saved."""
        self._start = time.perf_counter() - seconds
        self._peak_before = peak_memory_bytes

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resumption included."""
        return time.perf_counter() - self._start

    def peak_memory_bytes(self) -> int:
        """Return the peak so far, that before a resumption included; see the function."""
        return max(peak_memory_bytes(self.device), self._peak_before)


def peak_memory_bytes(device: str) -> int:
    """Return the peak so far: reserved device memory, or the process's resident memory.

    Reserved, not allocated: memory pools of captured graphs show only there.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_reserved(device)
    peak = resident_peak_bytes()
    return _peak_of_life() if peak is None else peak


def reset_peak(device: str) -> None:
    """Count the peak memory from now on."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        # Where that cannot be, the peak is the process's whole life, which is an upper bound.
        forget_resident_peak()


@contextmanager
def cpu_threads(device: str) -> Iterator[int]:
    """Use as many threads as the process may have cores, and give the number back afterwards.

    Torch counts the machine's cores; in a container with a quota that starts too many threads,
    which then wait for each other.
    """
    before = torch.get_num_threads()
    threads = min(before, available_cores())
    if device == "cpu" and threads != before:
        torch.set_num_threads(threads)
    try:
        yield torch.get_num_threads()
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def available_cores() -> int:
    """Return the cores this process may use: its affinity and its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = _CGROUP_LIMIT.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def _peak_of_life() -> int:
    import resource  # not on every platform

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
