"""DoRA through PEFT: LoRA's update of a layer's direction, and a trained magnitude.

Source: Liu et al. 2024, arXiv:2402.09353.
"""

from __future__ import annotations

from tpactl.adapters import lora
from tpactl.adapters.part import Part
from tpactl.bases.base import Base
from tpactl.formats.adapter import LoRASettings


def build(base: Base, settings: LoRASettings, seed: int) -> list[Part]:
    """Return fresh updates, as ``lora.build`` does."""
    return lora.build(base, settings, seed, use_dora=True)
