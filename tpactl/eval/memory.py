"""The most memory a computation held: on an accelerator its own, on a CPU the process's."""

from __future__ import annotations

import torch

from tpactl.bases.resident import forget_resident_peak, resident_peak_bytes


class PeakMemory:
    """The peak since it was made.

    On a CPU it is the resident memory of the whole process, libraries, weights and what other
    systems need included, where the system tells it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._told = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        self._told = forget_resident_peak()

    def peak_bytes(self) -> int | None:
        """Return it; ``None`` where the system does not tell."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return resident_peak_bytes() if self._told else None
