"""Two Parallel Adapter: a bottleneck beside both feed-forward modules of each chosen block.

Inside the half-step residual: ``x1 = x + 1/2 (FFN1(LN x) + A1(u))``, and the same for FFN2.
Source: Chen et al. 2023, arXiv:2306.08131.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.bottleneck import ParallelBottleneck
from tpactl.adapters.methods import Method, register
from tpactl.bases.base import Base
from tpactl.bases.blocks import FeedForward
from tpactl.errors import UsageError
from tpactl.formats.adapter import TPASettings

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
}


def chosen_blocks(blocks: list[int] | str, num_blocks: int) -> list[int]:
    """Return the indices ``blocks`` means on a base of ``num_blocks``.

    Raises:
        UsageError: none, a repeated or an absent block.
    """
    if isinstance(blocks, str):
        share = {"all": 1, "upper-half": 2, "upper-quarter": 4}[blocks]
        return list(range(num_blocks - max(1, num_blocks // share), num_blocks))
    absent = [index for index in blocks if not 0 <= index < num_blocks]
    if not blocks or absent or len(set(blocks)) != len(blocks):
        raise UsageError(
            f"adapter.blocks is {blocks}; the base has blocks 0 to {num_blocks - 1}",
            "name each block once, or use all, upper-half or upper-quarter",
        )
    return sorted(blocks)


def build(base: Base, settings: TPASettings, name: str, seed: int) -> Adapter:
    """Return a fresh TPA for ``base``; it changes no logit until it is trained.

    Raises:
        UsageError: a width, dropout or block that cannot be.
    """
    if settings.bottleneck_dim < 1:
        raise UsageError(
            f"adapter.bottleneck_dim is {settings.bottleneck_dim}; it must be at least 1",
            "choose a width such as 32",
        )
    if not 0 <= settings.dropout < 1:
        raise UsageError(
            f"adapter.dropout is {settings.dropout}; it must be at least 0 and below 1",
            "choose a share such as 0.1",
        )
    generator = torch.Generator().manual_seed(seed)

    def bottleneck(site: FeedForward) -> ParallelBottleneck:
        own = settings.activation == "ffn"
        return ParallelBottleneck(
            site.linear_in.in_features,
            settings.bottleneck_dim,
            activation=site.activation if own else _ACTIVATIONS[settings.activation],
            scale=settings.scale,
            dropout=settings.dropout,
            initialisation=settings.initialisation,
            generator=generator,
        )

    indices = chosen_blocks(settings.blocks, len(base.blocks))
    sites = [
        (site, bottleneck(site))
        for index in indices
        for site in (base.blocks[index].ffn1, base.blocks[index].ffn2)
    ]
    return Adapter(
        base,
        name=name,
        method="tpa",
        peft_type="TPA",
        sites=sites,
        settings=settings,
        block_indices=indices,
    )


register(Method("tpa", "TPA", "two parallel bottlenecks a block, and the CTC head", build))
