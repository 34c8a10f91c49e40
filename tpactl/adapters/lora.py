"""LoRA through PEFT: a low-rank update beside each chosen linear layer.

Source: Hu et al. 2022, arXiv:2106.09685.
"""

from __future__ import annotations

from tpactl.adapters.chosen import chosen_layers
from tpactl.adapters.part import Part
from tpactl.adapters.peft_layers import PeftLayer, place, wrap
from tpactl.bases.base import Base
from tpactl.formats.adapter import LoRASettings


def build(base: Base, settings: LoRASettings, seed: int, *, use_dora: bool = False) -> list[Part]:
    """Return fresh updates; they change no logit until trained.

    Raises:
        UsageError: blocks or sites that cannot be.
    """
    chosen = chosen_layers(base, settings.blocks, list(settings.sites), "lora")
    from peft import LoraConfig

    layers = [layer for _, layer in chosen]
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        use_dora=use_dora,
        target_modules=[place(index) for index in range(len(layers))],
    )
    wrapped = wrap(config, layers, seed)
    return [PeftLayer(layer, wrapper) for layer, wrapper in zip(layers, wrapped, strict=True)]
