"""Where in a base an adapter goes: its Conformer blocks, their modules and linear layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import Tensor, nn

from tpactl.errors import BaseError

LAYERS = (
    "ffn1.in", "ffn1.out",
    "attention.q", "attention.k", "attention.v", "attention.o",
    "conv.in", "conv.out",
    "ffn2.in", "ffn2.out",
)  # fmt: skip
"""Every linear layer of a block by tpactl's name, in the order of the computation; the two of the
convolution module are pointwise convolutions."""


@dataclass(frozen=True)
class Site:
    """A module of a block to whose output an adapter may add."""

    path: str
    """Exact module path inside the model, such as ``encoder.layers.0.feed_forward1``."""
    module: nn.Module
    norm: nn.Module
    """The layer norm whose input is the block's residual stream: in front of a module, and at the
    end of a whole block."""


@dataclass(frozen=True)
class FeedForward(Site):
    """One feed-forward module of a block: ``linear_out(activation(linear_in(norm(x))))``."""

    linear_in: nn.Linear
    linear_out: nn.Linear
    activation: nn.Module | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layer:
    """A linear layer or pointwise convolution of a block."""

    path: str
    """Exact module path inside the model."""
    module: nn.Linear | nn.Conv1d


@dataclass(frozen=True)
class Block:
    """One Conformer block with its macaron pair of feed-forward modules."""

    path: str
    module: nn.Module
    ffn1: FeedForward
    attention: Site
    conv: Site
    ffn2: FeedForward
    output: Site
    """The whole block."""
    layers: dict[str, Layer]
    """By the names of ``LAYERS``."""

    def site(self, name: str) -> Site:
        """Return the site by its name in settings: ``ffn1`` to ``ffn2``, or ``block``."""
        found: Site = getattr(self, "output" if name == "block" else name)
        return found


@dataclass(frozen=True)
class Family:
    """How one model family names the parts of its Conformer blocks.

    Blocks are found by structure: every module that owns all the named parts is one. So a model
    class that tpactl has never met works when it is built from a known family's blocks. Names may
    be dotted, and are those of attributes of a block unless said otherwise.
    """

    name: str
    ffn: tuple[str, str]
    """The first and the second feed-forward module."""
    attention: str
    conv: str
    norms: tuple[str, str, str, str]
    """The layer norms in front of the first feed-forward module, the attention, the convolution
    and the second feed-forward module."""
    final_norm: str
    """The layer norm at the end."""
    linear_in: str
    """Attribute of a feed-forward module."""
    linear_out: str
    """Attribute of a feed-forward module."""
    activation: str
    """Attribute of a feed-forward module."""
    projections: tuple[str, str, str, str]
    """Attributes of the attention: query, key, value, output."""
    output_lengths: Callable[[nn.Module, Tensor], Tensor]
    """(model, input lengths) to the number of logit frames; both (batch,)."""
    pointwise: tuple[str, str] = ("pointwise_conv1", "pointwise_conv2")
    """Attributes of the convolution module: its first and its last layer."""
    marks: tuple[str, ...] = ()
    """Further attributes that tell its blocks from a family's with the same names."""
    front: str | None = None
    """Module path, inside the model, whose one output enters the first block as (batch, frames,
    d_model); ``None`` where there is no such module, and then no prefix can be kept."""
    padding_leaks: bool = False
    """Its convolutions do not mask padding, so a batch may hold one length only."""

    @property
    def layers(self) -> dict[str, str]:
        """Each name of ``LAYERS`` with the dotted attribute of a block."""
        first, second = self.ffn
        return dict(
            zip(
                LAYERS,
                (
                    f"{first}.{self.linear_in}",
                    f"{first}.{self.linear_out}",
                    *(f"{self.attention}.{projection}" for projection in self.projections),
                    *(f"{self.conv}.{layer}" for layer in self.pointwise),
                    f"{second}.{self.linear_in}",
                    f"{second}.{self.linear_out}",
                ),
                strict=True,
            )
        )


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
        "choose a Conformer base: Parakeet (CTC, RNN-T, TDT), LASR, Wav2Vec2-BERT or "
        "Wav2Vec2-Conformer",
    )


def _has_parts(family: Family, module: nn.Module) -> bool:
    norms = [_part(module, name) for name in (*family.norms, family.final_norm)]
    layers = [_part(module, name) for name in family.layers.values()]
    return (
        all(_part(module, mark) is not None for mark in family.marks)
        and all(isinstance(norm, nn.Module) for norm in norms)
        and all(isinstance(layer, nn.Linear | nn.Conv1d) for layer in layers)
    )


def _part(module: nn.Module, dotted: str) -> Any:
    try:
        return attrgetter(dotted)(module)
    except AttributeError:
        return None


def _block(family: Family, path: str, module: nn.Module) -> Block:
    def site(name: str, norm: str) -> dict[str, Any]:
        return {
            "path": f"{path}.{name}",
            "module": _part(module, name),
            "norm": _part(module, norm),
        }

    def feed_forward(name: str, norm: str) -> FeedForward:
        ffn = getattr(module, name)
        return FeedForward(
            **site(name, norm),
            linear_in=getattr(ffn, family.linear_in),
            linear_out=getattr(ffn, family.linear_out),
            activation=getattr(ffn, family.activation),
        )

    before_ffn1, before_attention, before_conv, before_ffn2 = family.norms
    return Block(
        path=path,
        module=module,
        ffn1=feed_forward(family.ffn[0], before_ffn1),
        attention=Site(**site(family.attention, before_attention)),
        conv=Site(**site(family.conv, before_conv)),
        ffn2=feed_forward(family.ffn[1], before_ffn2),
        output=Site(path, module, _part(module, family.final_norm)),
        layers={
            name: Layer(f"{path}.{dotted}", _part(module, dotted))
            for name, dotted in family.layers.items()
        },
    )
