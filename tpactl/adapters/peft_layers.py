"""Layers of the PEFT library, one beside each chosen layer of a base.

PEFT puts its layers into a holder of ours, which shares the base's weights; the base itself is not
touched, and which layers get one is decided by exact paths here, not by PEFT's matching of names.
"""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import nn

from tpactl.adapters.part import Instead, Part, Removable
from tpactl.bases.blocks import Layer

_NAME = "default"
"""PEFT's name of the adapter in each of its layers, which here hold only one."""


class PeftLayer(Part):
    """The trained tensors of one PEFT layer, called as PEFT calls them, such as ``lora_A.weight``.

    Args:
        layer: of the base.
        wrapper: PEFT's layer around a twin that shares the base layer's weights.
    """

    def __init__(self, layer: Layer, wrapper: Any) -> None:
        super().__init__(layer.path)
        self._layer = (layer,)
        self._wrapper = (wrapper,)
        for name in (*wrapper.adapter_layer_names, "lora_dropout"):
            held = getattr(wrapper, name, {})
            if _NAME in held:
                setattr(self, name, held[_NAME])
        self.float()

    def put_on(self) -> list[Removable]:
        """Have the base's layer compute what PEFT's does."""
        return [Instead(self._layer[0].module, self._wrapper[0].forward)]

    def merge_into(self, model: nn.Module) -> None:
        """Change the layer's weights, as PEFT's ``merge`` does; exact but for rounding."""
        wrapper = copy.deepcopy(self._wrapper[0])
        wrapper.merge(safe_merge=True)
        model.set_submodule(self.path, wrapper.get_base_layer())


class ScaledInput(PeftLayer):
    """A layer of (IA)³ whose input is scaled instead of its output."""

    listed_under: ClassVar[tuple[str, ...]] = ("target_modules", "feedforward_modules")


def place(index: int) -> str:
    """Return what PEFT knows a layer by.

    Of fixed width, because PEFT matches endings of names: ``3`` would also be found in ``13``.
    """
    return f"{index:06d}"


def wrap(config: Any, layers: list[Layer], seed: int) -> list[Any]:
    """Return PEFT's layer for each of ``layers``, fresh.

    Args:
        config: PEFT's configuration; it calls the layers by their ``place``.
        layers: of a base without an active adapter.
        seed: of what starts random.
    """
    from peft import inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    holder = nn.ModuleDict({place(i): _twin(layer.module) for i, layer in enumerate(layers)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, holder, _NAME)
    wrapped = [holder[place(i)] for i in range(len(layers))]
    assert all(isinstance(layer, BaseTunerLayer) for layer in wrapped)
    return wrapped


def _twin(layer: nn.Linear | nn.Conv1d) -> nn.Module:
    """Return a layer of its own with the very weights of ``layer``."""
    has_bias = layer.bias is not None
    twin: nn.Linear | nn.Conv1d
    # Built anew, not copied: a copy would carry hooks and an instance's forward along.
    if isinstance(layer, nn.Linear):
        twin = nn.Linear(layer.in_features, layer.out_features, bias=has_bias, device="meta")
    else:
        twin = nn.Conv1d(layer.in_channels, layer.out_channels, 1, bias=has_bias, device="meta")
    twin.weight = layer.weight
    twin.bias = layer.bias
    return twin
