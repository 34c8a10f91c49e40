"""Runs Triton's kernels where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def interpret(program: str) -> None:
    """Run ``program`` with Triton's kernels interpreted on the CPU; it asserts by itself."""
    pytest.importorskip("triton", reason="Triton is not installed")
    # Triton decides when it is imported whether it interprets its kernels.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, env=environment)
