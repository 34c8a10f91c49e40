"""The most memory a computation held: on an accelerator its own, on a CPU the process's."""

from __future__ import annotations

from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


class PeakMemory:
    """The peak since it was made.

    On a CPU it is the resident memory of the whole process, libraries, weights and what other
    systems need included. Linux alone lets a process forget its earlier peak (``clear_refs``, see
    ``man 5 proc``).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._told = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            (_PROCESS / "clear_refs").write_text("5")
        except OSError:
            self._told = False

    def peak_bytes(self) -> int | None:
        """Return it; ``None`` where the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        if not self._told:
            return None
        for line in (_PROCESS / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return None
