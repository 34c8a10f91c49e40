"""Where in a base an adapter goes: its Conformer blocks and their two feed-forward modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter

from torch import Tensor, nn

from tpactl.errors import BaseError


@dataclass(frozen=True)
class FeedForward:
    """One feed-forward module of a block: ``linear_out(activation(linear_in(norm(x))))``."""

    path: str
    """Exact module path inside the model, such as ``encoder.layers.0.feed_forward1``."""
    module: nn.Module
    norm: nn.Module
    """The layer norm in front of it; its input is the block's residual stream."""
    linear_in: nn.Linear
    linear_out: nn.Linear
    activation: nn.Module | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Block:
    """One Conformer block with its macaron pair of feed-forward modules."""

    path: str
    module: nn.Module
    ffn1: FeedForward
    ffn2: FeedForward


@dataclass(frozen=True)
class Family:
    """How one model family names the parts of its Conformer blocks.

    Blocks are found by structure: every module that owns all the named parts is one. So a model
    class that tpactl has never met works when it is built from a known family's blocks.
    """

    name: str
    ffn: tuple[str, str]
    """Attributes of a block: the first and the second feed-forward module."""
    norms: tuple[str, str]
    """Attributes of a block: the layer norms in front of them."""
    linear_in: str
    """Attributes of a feed-forward module."""
    linear_out: str
    activation: str
    output_lengths: Callable[[nn.Module, Tensor], Tensor]
    """(model, input lengths) to the number of logit frames; both (batch,)."""
    marks: tuple[str, ...] = ()
    """Further (dotted) attributes that tell its blocks from a family's with the same names."""
    padding_leaks: bool = False
    """Its convolutions do not mask padding, so a batch may hold one length only."""


def find_blocks(model: nn.Module, families: tuple[Family, ...]) -> tuple[Family, list[Block]]:
    """Return the family and the Conformer blocks of ``model``, from the audio upwards.

    Raises:
        BaseError: no block of any family; the message says which were looked for.
    """
    for family in families:
        blocks = [
            _block(family, path, module)
            for path, module in model.named_modules()
            if _has_parts(family, module)
        ]
        if blocks:
            return family, blocks
    looked_for = "; ".join(f"{f.name} ({f.ffn[0]} + {f.ffn[1]})" for f in families)
    raise BaseError(
        f"{type(model).__name__} has no Conformer blocks with two feed-forward modules; "
        f"looked for: {looked_for}",
        "choose a Conformer CTC base: Parakeet, LASR, Wav2Vec2-BERT or Wav2Vec2-Conformer",
    )


def _has_parts(family: Family, module: nn.Module) -> bool:
    feed_forwards = [getattr(module, name, None) for name in family.ffn]
    norms = [getattr(module, name, None) for name in family.norms]
    inner = (family.linear_in, family.linear_out)
    if not all(_has(module, mark) for mark in family.marks):
        return False
    return all(isinstance(norm, nn.Module) for norm in norms) and all(
        isinstance(getattr(ffn, name, None), nn.Linear) for ffn in feed_forwards for name in inner
    )


def _has(module: nn.Module, dotted: str) -> bool:
    try:
        attrgetter(dotted)(module)
    except AttributeError:
        return False
    return True


def _block(family: Family, path: str, module: nn.Module) -> Block:
    def feed_forward(ffn_name: str, norm_name: str) -> FeedForward:
        ffn = getattr(module, ffn_name)
        return FeedForward(
            path=f"{path}.{ffn_name}",
            module=ffn,
            norm=getattr(module, norm_name),
            linear_in=getattr(ffn, family.linear_in),
            linear_out=getattr(ffn, family.linear_out),
            activation=getattr(ffn, family.activation),
        )

    first, second = zip(family.ffn, family.norms, strict=True)
    return Block(path, module, feed_forward(*first), feed_forward(*second))
