"""Merge an adapter into a copy of its base, for engines that know no adapters."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tpactl.adapters.adapter import Adapter, base_alone
from tpactl.adapters.part import Part


@torch.no_grad()
def merge(adapter: Adapter) -> nn.Module:
    """Return a model that computes what base and adapter compute together, without hooks.

    Parallel adapters become hidden units of their feed-forward modules, so these grow; LoRA, DoRA
    and (IA)³ change weights, BitFit biases, and decoder modules take the base's place, so that the
    model keeps its shape. The base itself is left as it is.

    Raises:
        UsageError: a part that cannot become part of the model.
    """
    # A copy carries hooks along, so none may be in place.
    with base_alone(adapter.base):
        model = copy.deepcopy(adapter.base.model)
        for part in (*adapter.parts, *adapter.decoder):
            assert isinstance(part, Part)
            part.merge_into(model)
    return model.eval().requires_grad_(False)
