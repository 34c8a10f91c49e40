"""How much memory a second of audio takes, and which part of a batch fits.

Measured while training: the peak after the largest pass so far, and after a smaller one before it.
"""

from __future__ import annotations

import gc
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from tpactl.train.cost import peak_memory_bytes

USABLE = 0.9
"""Share of the memory that a proposal counts on; the rest is lost between blocks of other sizes."""

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

_NO_MEMORY_ON_CPU = "can't allocate memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's CPU allocator has no class of its own for it.
    return isinstance(error, RuntimeError) and _NO_MEMORY_ON_CPU in str(error)


def what_it_said(error: BaseException) -> str:
    """Return the first line of an error for which ``is_out_of_memory`` holds."""
    return str(error).splitlines()[0] if str(error) else "no more memory"


def available_bytes(device: str) -> int:
    """Return the memory of the device; of a CPU, the machine's or the container's."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[1]
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):
        total = min(total, int(_CGROUP_LIMIT.read_text()))
    return total


def release(device: str) -> None:
    """Give back what nobody holds any more, so that a peak measured from now on leaves it out."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass, and the peak memory once it was done."""

    padded_s: float
    peak_bytes: int


class MemoryUse:
    """What the passes of a training took, as far as it says how much a larger one would take.

    Args:
        device: where they run.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._passes: list[Pass] = [Pass(0.0, peak_memory_bytes(device))]

    def note(self, padded_s: float) -> None:
        """Remember the peak after a pass; one no larger than an earlier says nothing new."""
        if padded_s > self._passes[-1].padded_s:
            self._passes.append(Pass(padded_s, peak_memory_bytes(self._device)))

    def parts_that_fit(self, padded_s: float, parts: int) -> int:
        """Return in how many parts the batch fits of which one part did not.

        Args:
            padded_s: seconds of audio in the pass that did not fit, padding included.
            parts: in how many the batch was computed.
        """
        return parts_that_fit(self._passes, padded_s, parts, available_bytes(self._device))


def parts_that_fit(passes: list[Pass], padded_s: float, parts: int, limit_bytes: int) -> int:
    """Return the smallest number of parts, at least twice ``parts``, whose passes should fit.

    Args:
        passes: measured, the smallest first; the first may be the state before any.
        padded_s: of the pass that did not fit.
        parts: in how many parts the batch was computed.
        limit_bytes: memory of the device.
    """
    first, last = passes[0], passes[-1]
    least = 2 * parts
    if last.padded_s <= first.padded_s:
        return least
    bytes_a_second = (last.peak_bytes - first.peak_bytes) / (last.padded_s - first.padded_s)
    room = USABLE * limit_bytes - first.peak_bytes + bytes_a_second * first.padded_s
    if bytes_a_second <= 0 or room <= 0:
        return least
    return max(least, math.ceil(parts * padded_s * bytes_a_second / room))
