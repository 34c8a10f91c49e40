"""(IA)³ through PEFT: trained factors on what linear layers give, or on what they read.

Source: Liu et al. 2022, arXiv:2205.05638, sec. 3.3.
"""

from __future__ import annotations

from tpactl.adapters.chosen import chosen_layers
from tpactl.adapters.part import Part
from tpactl.adapters.peft_layers import PeftLayer, ScaledInput, place, wrap
from tpactl.bases.base import Base
from tpactl.errors import UsageError
from tpactl.formats.adapter import IA3Settings

_INPUT_SCALED = ("ffn1.out", "ffn2.out")


def build(base: Base, settings: IA3Settings, seed: int) -> list[Part]:
    """Return factors of one; they change no logit until trained.

    Raises:
        UsageError: blocks or sites that cannot be.
    """
    convolutions = [site for site in settings.sites if site.startswith("conv.")]
    if convolutions:
        raise UsageError(
            f"ia3.sites names {', '.join(convolutions)}; PEFT's (IA)³ has no 1-d convolutions",
            "name layers of attention and feed-forward modules",
        )
    chosen = chosen_layers(base, settings.blocks, list(settings.sites), "ia3")
    from peft import IA3Config

    layers = [layer for _, layer in chosen]
    kinds = [ScaledInput if name in _INPUT_SCALED else PeftLayer for name, _ in chosen]
    config = IA3Config(
        target_modules=[place(index) for index in range(len(layers))],
        feedforward_modules=[place(i) for i, kind in enumerate(kinds) if kind is ScaledInput],
    )
    wrapped = wrap(config, layers, seed)
    return [kind(layer, w) for kind, layer, w in zip(kinds, layers, wrapped, strict=True)]
