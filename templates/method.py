"""Skeleton of an adapter method: copy it to ``tpactl/adapters/NAME.py`` and fill in 1 and 2.

Then register it in ``tpactl/adapters/methods.py``, name it in ``docs/guide/methods.md``, and add a
line with it to ``tests/adapters/cases.py``: every test of methods then runs over it.

    register(
        Method(
            name="NAME",
            peft_type="NAME",
            summary="what is trained, in a few words",
            title="What the result is, with an article",
            module="tpactl.adapters.NAME",
            section="adapter",
            defaults=Shape(bottleneck_dim=16),
            keys=_BOTTLENECK_KEYS,
        )
    )

``section`` names the section of a run file that shapes it; ``defaults`` are its keys where nothing
is set. A method with other keys gets a record in ``formats/adapter.py`` and a section in
``formats/run.py``. Say here what it computes, and its source.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tpactl.adapters.chosen import chosen_blocks, chosen_sites
from tpactl.adapters.part import Part, Removable
from tpactl.bases.base import Base
from tpactl.bases.blocks import Site
from tpactl.formats.adapter import Shape


class OwnPart(Part):
    """What is trained at one site."""

    def __init__(self, site: Site, shape: Shape, d_model: int, generator: torch.Generator) -> None:
        super().__init__(site.path)
        # A tuple hides the base's module from nn.Module: its tensors are not trained.
        self._site = (site,)
        # 1. The trained tensors: attributes of type nn.Parameter or nn.Module, float32. What starts
        #    random is drawn from ``generator``. At first ``compute`` gives ``output`` unchanged.
        ...

    def compute(self, output: Tensor) -> Tensor:
        """Return what the site gives with this part; (batch, frames, d_model) in and out."""
        # 2. The computation, in the dtype of ``output``. Dropout is on where ``self.training`` is.
        ...

    def put_on(self) -> list[Removable]:
        """Have the site give what ``compute`` makes of its output."""

        def change(module: nn.Module, args: Any, out: Any) -> Any:
            if isinstance(out, tuple):
                return (self.compute(out[0]), *out[1:])
            return self.compute(out)

        return [self._site[0].module.register_forward_hook(change)]


def build(base: Base, shape: Shape, seed: int) -> list[Part]:
    """Return fresh parts for the chosen sites of the chosen blocks.

    Raises:
        UsageError: blocks or sites that cannot be.
    """
    generator = torch.Generator().manual_seed(seed)
    return [
        OwnPart(base.blocks[index].site(name), shape, base.d_model, generator)
        for index in chosen_blocks(shape.blocks, len(base.blocks))
        for name in chosen_sites(list(shape.sites), base.blocks[index])
    ]
