"""Two linear layers that hold a bottleneck's two as further hidden units.

With ``u = LN x`` and the feed-forward module's own activation, an adapter is exactly that:
``[W2 W_up] act([W1; W_down] u)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tpactl.adapters.bottleneck import ParallelBottleneck


@torch.no_grad()
def widen(inner: nn.Module, outer: nn.Module, bottleneck: ParallelBottleneck) -> None:
    """Change ``inner`` and ``outer``, the layers around the activation, in place."""
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
