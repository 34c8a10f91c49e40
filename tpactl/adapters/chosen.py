"""Which blocks and layers the settings mean on a base."""

from __future__ import annotations

from typing import Literal

from tpactl.bases.base import Base
from tpactl.bases.blocks import Block, Layer
from tpactl.errors import UsageError


def chosen_blocks(blocks: list[int] | str, num_blocks: int, section: str = "adapter") -> list[int]:
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
            f"{section}.blocks is {blocks}; the base has blocks 0 to {num_blocks - 1}",
            "name each block once, or use all, upper-half or upper-quarter",
        )
    return sorted(blocks)


def chosen_sites(sites: list[str], block: Block, section: str = "adapter") -> list[str]:
    """Return ``sites`` in the order in which a block computes them.

    Raises:
        UsageError: none, or a repeated one.
    """
    if not sites or len(set(sites)) != len(sites):
        raise UsageError(
            f"{section}.sites is [{', '.join(sites)}]", "name each site once, at least one"
        )
    order = ["ffn1", "attention", "conv", "ffn2", "block", *block.layers]
    return sorted(sites, key=order.index)


def chosen_layers(
    base: Base,
    blocks: list[int] | str,
    sites: list[str],
    section: Literal["lora", "ia3"],
) -> list[tuple[str, Layer]]:
    """Return the named layers of the chosen blocks, from the audio upwards, each with its name.

    Raises:
        UsageError: as ``chosen_blocks`` and ``chosen_sites``.
    """
    return [
        (name, base.blocks[index].layers[name])
        for index in chosen_blocks(blocks, len(base.blocks), section)
        for name in chosen_sites(sites, base.blocks[index], section)
    ]
