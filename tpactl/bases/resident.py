"""The most memory the process held since it was last asked to forget; Linux alone tells."""

from __future__ import annotations

from pathlib import Path

_PROCESS = Path("/proc/self")


def forget_resident_peak() -> bool:
    """Count the peak from now on, and return whether the system can.

    Source: ``clear_refs`` in ``man 5 proc``.
    """
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident_peak_bytes() -> int | None:
    """Return the peak of resident memory; ``None`` where the system does not tell."""
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
