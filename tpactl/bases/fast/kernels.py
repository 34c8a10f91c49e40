"""What all kernels written in Triton share: whether they can run here, and their tiles."""

from __future__ import annotations

from functools import cache

import torch

from tpactl.errors import reason_of


def can_run(device: torch.device) -> bool:
    """Return whether Triton's kernels can run on ``device``."""
    return device.type == "cuda" and not why_not()


@cache
def why_not() -> str:
    """Return why no kernel can run on this machine's CUDA devices; nothing where they can.

    One is tried: beside a device Triton needs a C compiler, which small images lack. To be asked
    before anything is captured.
    """
    try:
        from tpactl.bases.fast import probe_kernel  # it imports Triton

        number = torch.zeros(1, device="cuda")
        probe_kernel.one[1,](number)
        return "" if number.item() == 1 else "a kernel computed something else"
    # Compilers fail in classes of their own, of the driver, and of the system.
    except Exception as error:
        return reason_of(error)


def block(length: int) -> int:
    """Return the power of two that holds ``length``, as Triton's tiles have it."""
    return max(16, 1 << (length - 1).bit_length())
