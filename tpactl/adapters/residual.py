"""Residual adapters: a bottleneck at each chosen site of each chosen block.

A Two Parallel Adapter is one beside both feed-forward modules, inside the half-step residual:
``x1 = x + 1/2 (FFN1(LN x) + A1(u))``, and the same for FFN2.
Source: Chen et al. 2023, arXiv:2306.08131; the other shapes: ``adapters.methods``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpactl.adapters.bottleneck import ParallelBottleneck
from tpactl.adapters.chosen import chosen_blocks, chosen_sites
from tpactl.adapters.part import Part, Removable
from tpactl.adapters.widen import widen
from tpactl.bases.base import Base
from tpactl.bases.blocks import FeedForward, Site
from tpactl.errors import UsageError
from tpactl.formats.adapter import Shape

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "silu": F.silu,
    "gelu": F.gelu,
}


class SiteBottleneck(Part):
    """A bottleneck at one site, and what it reads there."""

    def __init__(
        self, site: Site, bottleneck: ParallelBottleneck, shape: Shape, *, is_block: bool
    ) -> None:
        super().__init__(site.path)
        self.adapter = bottleneck
        # Tuples hide from nn.Module what belongs to the base.
        self._site = (site,)
        self.shape = shape
        self.is_block = is_block

    @property
    def site(self) -> Site:
        """Where it stands."""
        return self._site[0]

    def put_on(self) -> list[Removable]:
        """Add the bottleneck's output to the site's."""
        return put_at(self.site, self.shape, self.adapter, is_block=self.is_block)

    def merge_into(self, model: nn.Module) -> None:
        """Make the bottleneck further hidden units of its feed-forward module; exact.

        Raises:
            UsageError: it reads another input, uses another activation or stands elsewhere, so it
                cannot become part of a feed-forward module.
        """
        site, shape = self.site, self.shape
        fits = (shape.form, shape.input, shape.activation) == ("parallel", "ffn", "ffn")
        if not fits or not isinstance(site, FeedForward):
            raise UsageError(
                f"a {shape.form} adapter at {self.path} with input {shape.input!r} and activation "
                f"{shape.activation!r} cannot be merged",
                "train with adapter.form=parallel, adapter.sites=[ffn1, ffn2], adapter.input=ffn "
                "and adapter.activation=ffn, or serve it unmerged",
            )
        names = {id(module): name for name, module in site.module.named_children()}
        feed_forward = model.get_submodule(site.path)
        widen(
            feed_forward.get_submodule(names[id(site.linear_in)]),
            feed_forward.get_submodule(names[id(site.linear_out)]),
            self.adapter,
        )


def put_at(
    site: Site, shape: Shape, correction: Callable[[Tensor], Tensor], *, is_block: bool
) -> list[Removable]:
    """Add to what ``site`` gives a correction of what ``shape`` says is read there.

    Args:
        site: where.
        shape: its form and its input are looked at.
        correction: (batch, frames, d_model) to the same shape.
        is_block: the site is a whole block.
    """
    at_norm: list[Tensor] = []

    def remember(norm: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        at_norm[:] = [args[0] if shape.input == "residual" else out]

    def add(module: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> Any:
        output = out[0] if isinstance(out, tuple) else out
        if at_norm:
            read = at_norm.pop()
        elif shape.form == "sequential":
            read = output
        else:
            read = args[0] if args else kwargs["hidden_states"]
        # Of a transposed tensor torch computes a product in one of two ways, by whether the
        # weights require a gradient: the trained and the loaded adapter would differ in bits.
        output = output + correction(read.contiguous())
        return (output, *out[1:]) if isinstance(out, tuple) else output

    handles: list[Removable] = [site.module.register_forward_hook(add, with_kwargs=True)]
    # A module may own its norm, so the norm itself is asked what it read and gave. A block's
    # final norm is the end of it, and in front of a block there is none.
    reads_norm = shape.form == "parallel" and not is_block
    reads_norm |= is_block and shape.form == "sequential" and shape.input == "residual"
    if reads_norm:
        handles.append(site.norm.register_forward_hook(remember))
    return handles


def build(base: Base, shape: Shape, seed: int) -> list[Part]:
    """Return fresh bottlenecks; they change no logit until trained, unless ``praxis`` starts them.

    Raises:
        UsageError: blocks or sites that cannot be, or an input that a site does not have.
    """
    _check_input(shape)
    generator = torch.Generator().manual_seed(seed)
    parts: list[Part] = []
    for index in chosen_blocks(shape.blocks, len(base.blocks)):
        block = base.blocks[index]
        for name in chosen_sites(list(shape.sites), block):
            own = shape.activation == "ffn"
            bottleneck = ParallelBottleneck(
                base.d_model,
                shape.bottleneck_dim,
                activation=block.ffn1.activation if own else _ACTIVATIONS[shape.activation],
                scale=shape.scale,
                dropout=shape.dropout,
                initialisation=shape.initialisation,
                generator=generator,
            )
            is_block = name == "block"
            parts.append(SiteBottleneck(block.site(name), bottleneck, shape, is_block=is_block))
    return parts


def _check_input(shape: Shape) -> None:
    within = [site for site in shape.sites if site != "block"]
    if shape.form == "sequential" and shape.input == "residual" and within:
        raise UsageError(
            "adapter.input is residual, but a sequential adapter reads the output of "
            f"{', '.join(within)}, where no norm stands between",
            "set adapter.input=ffn, or adapter.form=parallel, or adapter.sites=[block]",
        )
