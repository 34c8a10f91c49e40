"""Device and precision, through accelerate."""

from __future__ import annotations

from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

Precision = Literal["fp32", "bf16"]


def choose_precision(device: str, wanted: Literal["auto", "fp32", "bf16"]) -> Precision:
    """Return the precision of activations; weights that are trained are float32 in any case.

    ``auto`` is bf16 on a CUDA device that computes in it, and fp32 elsewhere: few CPUs are faster
    in bf16, and results on a CPU stay the same to the last bit.
    """
    if wanted != "auto":
        return wanted
    return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "fp32"


def make_accelerator(device: str, precision: Precision) -> Accelerator:
    """Return the accelerator for one training.

    The base is on its device already, so it is given neither model nor optimiser.
    """
    # Its state is one for the whole process, and a second training may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
