"""Which device computes."""

from __future__ import annotations

import torch

from tpactl.errors import MachineError, UsageError


def choose(device: str = "auto") -> str:
    """Return the torch device name for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UsageError: no such kind of device.
        MachineError: this machine has none of that kind.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise UsageError(f"no such device: {device!r}", "use auto, cpu, cuda, cuda:N or mps")
    available = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[kind]
    if int(index or 0) >= available:
        raise MachineError(
            f"device {device} is not on this machine (found {available} of kind {kind})",
            "use --device auto, or run: tpactl doctor",
        )
    return device
