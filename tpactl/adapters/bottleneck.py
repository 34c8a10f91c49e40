"""The bottleneck a Two Parallel Adapter adds beside a feed-forward module."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BOUNDS = {"uniform": 1.0, "kaiming": 6**0.5}
"""How ``W_down`` may start: uniform within this many times ``1/sqrt(d_model)``.

Source: ``kaiming`` He et al. 2015, arXiv:1502.01852, eq. 10 for ReLU, as a uniform distribution.
"""


class ParallelBottleneck(nn.Module):
    """``s * (W_up act(W_down u + b_down) + b_up)``; zero for every ``u`` until it is trained.

    Args:
        d_model: width of input and output.
        bottleneck_dim: width between the two linear layers.
        activation: of the bottleneck.
        scale: the factor ``s``, or ``"learned"`` for one trained scalar that starts at 1.
        dropout: on the bottleneck, in training mode only.
        initialisation: the range of the uniform ``W_down``, see ``BOUNDS``.
        generator: source of the random ``W_down``.

    ``W_up`` and both biases start at zero.

    Source: Chen et al. 2023, arXiv:2306.08131; He et al. 2022, arXiv:2110.04366, eq. 5.
    """

    def __init__(
        self,
        d_model: int,
        bottleneck_dim: int,
        *,
        activation: Callable[[Tensor], Tensor],
        scale: float | str,
        dropout: float,
        initialisation: str,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.down = nn.Linear(d_model, bottleneck_dim)
        self.up = nn.Linear(bottleneck_dim, d_model)
        self.scale: float | nn.Parameter = (
            nn.Parameter(torch.ones(())) if scale == "learned" else float(scale)
        )
        self.dropout = dropout
        # Not registered: it belongs to the base or is a function, and has nothing to save.
        self._activation = (activation,)
        bound = BOUNDS[initialisation] * d_model**-0.5
        with torch.no_grad():
            self.down.weight.uniform_(-bound, bound, generator=generator)
            for zero in (self.down.bias, self.up.weight, self.up.bias):
                zero.zero_()

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what is added to the feed-forward module's output.

        Args:
            hidden: (batch, frames, d_model).

        Returns:
            Same shape and dtype. The weights stay float32 and are cast to the input's dtype.
        """
        inner = self._activation[0](_linear(hidden, self.down))
        inner = F.dropout(inner, self.dropout, self.training)
        scale = self.scale if isinstance(self.scale, float) else self.scale.to(inner.dtype)
        return _linear(inner, self.up) * scale


def _linear(hidden: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(hidden, layer.weight.to(hidden.dtype), layer.bias.to(hidden.dtype))
