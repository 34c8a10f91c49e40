"""Whether kernels written in Triton can run."""

from __future__ import annotations

import importlib.util

import torch

HAS_TRITON = importlib.util.find_spec("triton") is not None
"""Looked up once: a compiler that traces ``can_run`` would break its graph at the look-up."""


def can_run(device: torch.device) -> bool:
    """Return whether Triton's kernels can run on ``device``."""
    return HAS_TRITON and device.type == "cuda"
