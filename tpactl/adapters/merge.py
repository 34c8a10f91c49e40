"""Merge an adapter into a copy of its base: wider feed-forward modules, the trained head.

With the feed-forward module's own input and activation a TPA *is* ``bottleneck_dim`` more hidden
units: ``[W2, s W_up] act([W1; W_down] u + [b1; b_down]) + b2 + s b_up``. So merging is exact but
for the order in which sums are rounded.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from tpactl.adapters.adapter import Adapter, base_alone
from tpactl.adapters.bottleneck import ParallelBottleneck
from tpactl.errors import UsageError


@torch.no_grad()
def merge(adapter: Adapter) -> nn.Module:
    """Return a model that computes what base and adapter compute together, without hooks.

    The base itself is left as it is.

    Raises:
        UsageError: the adapter reads another input or uses another activation than the feed-forward
            module it stands beside, so it cannot become part of it.
    """
    settings = adapter.settings
    if settings is not None and (settings.input != "ffn" or settings.activation != "ffn"):
        raise UsageError(
            f"an adapter with input {settings.input!r} and activation {settings.activation!r} "
            "cannot be merged",
            "train with adapter.input=ffn and adapter.activation=ffn, or serve it unmerged",
        )
    # A copy carries hooks along, so none may be in place.
    with base_alone(adapter.base):
        model = copy.deepcopy(adapter.base.model)
    for site, bottleneck in adapter.sites():
        feed_forward = model.get_submodule(site.path)
        names = {id(m): n for n, m in site.module.named_children()}
        _widen(
            feed_forward.get_submodule(names[id(site.linear_in)]),
            feed_forward.get_submodule(names[id(site.linear_out)]),
            bottleneck,
        )
    model.set_submodule(adapter.base.head_path, copy.deepcopy(adapter.head).to(adapter.base.dtype))
    return model.eval().requires_grad_(False)


def _widen(inner: nn.Module, outer: nn.Module, bottleneck: ParallelBottleneck) -> None:
    """Make two linear layers hold the bottleneck's two as further hidden units."""
    assert isinstance(inner, nn.Linear)
    assert isinstance(outer, nn.Linear)
    scale = bottleneck.scale
    dtype = inner.weight.dtype
    inner.bias = _parameter([_bias(inner), bottleneck.down.bias], 0, dtype)
    inner.weight = _parameter([inner.weight, bottleneck.down.weight], 0, dtype)
    outer.bias = _parameter([_bias(outer) + bottleneck.up.bias * scale], 0, dtype)
    outer.weight = _parameter([outer.weight, bottleneck.up.weight * scale], 1, dtype)
    inner.out_features = outer.in_features = inner.weight.shape[0]


def _bias(layer: nn.Linear) -> Tensor:
    return layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias


def _parameter(parts: list[Tensor], dim: int, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.cat([part.to(dtype) for part in parts], dim), requires_grad=False)
