"""The bottleneck of every residual adapter."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ParallelBottleneck(nn.Module):
    """``s * (W_up act(W_down u + b_down) + b_up)``.

    Args:
        d_model: width of input and output.
        bottleneck_dim: width between the two linear layers.
        activation: of the bottleneck.
        scale: the factor ``s``, or ``"learned"`` for one trained scalar that starts at 1.
        dropout: on the bottleneck, in training mode only.
        initialisation: how it starts, see ``formats.adapter.Shape``. ``W_up`` is zero in any case,
            so that it is zero for every ``u`` until it is trained, unless ``praxis`` starts it.
        generator: source of what starts random.

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
        self._start(initialisation, generator)

    @property
    def activation(self) -> Callable[[Tensor], Tensor]:
        """Between the two linear layers."""
        return self._activation[0]

    @torch.no_grad()
    def _start(self, initialisation: str, generator: torch.Generator) -> None:
        width, d_model = self.down.weight.shape
        bound = {
            "uniform": d_model**-0.5,
            "kaiming": (6 / d_model) ** 0.5,
            "praxis": (6 / (d_model + width)) ** 0.5,
        }[initialisation]
        self.down.weight.uniform_(-bound, bound, generator=generator)
        for start in (self.down.bias, self.up.weight, self.up.bias):
            start.zero_()
        if initialisation == "praxis":
            # MultitaskResidualAdapter of one task: Xavier over biases of shape (1, width).
            for bias in (self.down.bias, self.up.bias):
                bound = (6 / (1 + len(bias))) ** 0.5
                bias.uniform_(-bound, bound, generator=generator)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what is added to the feed-forward module's output.

        Args:
            hidden: (batch, frames, d_model).

        Returns:
            Same shape and dtype. The weights stay float32 and are cast to the input's dtype.
        """
        inner = self.activation(_linear(hidden, self.down))
        inner = F.dropout(inner, self.dropout, self.training)
        scale = self.scale if isinstance(self.scale, float) else self.scale.to(inner.dtype)
        return _linear(inner, self.up) * scale


def _linear(hidden: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(hidden, layer.weight.to(hidden.dtype), layer.bias.to(hidden.dtype))
