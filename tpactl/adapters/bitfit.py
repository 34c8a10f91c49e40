"""BitFit: the base keeps its weights and gets biases of the department's own.

Source: Ben Zaken et al. 2022, arXiv:2106.10199.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from tpactl.adapters.chosen import chosen_blocks
from tpactl.adapters.computed import computed
from tpactl.adapters.part import Part, Removable
from tpactl.bases.base import Base
from tpactl.errors import BaseError
from tpactl.formats.adapter import BitFitSettings

BIASES = ("bias", "bias_u", "bias_v", "pos_bias_u", "pos_bias_v")
"""Names of bias parameters; the last four are those of relative-position attention, added to the
queries (Dai et al. 2019, arXiv:1901.02860, sec. 3.3)."""


class OwnBiases(Part):
    """Trained biases of one module, starting as the base's.

    They take the base's place only while the module computes, so that what the base holds is the
    same between calls, and on disk.
    """

    yields_to_decoder: ClassVar[bool] = True

    def __init__(self, path: str, module: nn.Module, names: list[str]) -> None:
        super().__init__(path)
        for name in names:
            value = module.get_parameter(name).detach().float().clone()
            self.register_parameter(name, nn.Parameter(value))
        self._module = (module,)

    def put_on(self) -> list[Removable]:
        """Exchange the biases around each call of the module."""
        module = self._module[0]
        kept: dict[str, nn.Parameter] = {}

        def exchange(module: nn.Module, args: Any) -> None:
            for name, own in self.named_parameters():
                kept[name] = module.get_parameter(name)
                module._parameters[name] = own.to(kept[name].dtype)  # type: ignore[assignment]

        def restore(module: nn.Module, args: Any, out: Any) -> None:
            for name, theirs in kept.items():
                module._parameters[name] = theirs
            kept.clear()

        return [
            module.register_forward_pre_hook(exchange),
            # Also when the module raises: the base must not keep what is not its own.
            module.register_forward_hook(restore, always_call=True),
        ]

    @torch.no_grad()
    def merge_into(self, model: nn.Module) -> None:
        """Write the biases over the base's; exact."""
        module = model.get_submodule(self.path)
        for name, own in self.named_parameters():
            module.get_parameter(name).copy_(own)


def build(base: Base, settings: BitFitSettings, seed: int) -> list[Part]:
    """Return the biases of the chosen blocks, and of what is outside the blocks if wanted.

    Raises:
        BaseError: the base has none there.
        UsageError: a block that cannot be.
    """
    chosen = chosen_blocks(settings.blocks, len(base.blocks), "bitfit")
    inside = tuple(f"{base.blocks[index].path}." for index in chosen)
    blocks = tuple(f"{block.path}." for block in base.blocks)
    owners: dict[str, tuple[nn.Module, list[str]]] = {}
    for path, module in base.model.named_modules():
        wanted = path.startswith(inside) or (settings.front and not path.startswith(blocks))
        names = [name for name, _ in module.named_parameters(recurse=False) if name in BIASES]
        if wanted and names:
            owners[path] = module, names
    # A family may own modules that this configuration of it leaves unused.
    used = computed(base, {path: module for path, (module, _) in owners.items()})
    parts: list[Part] = [OwnBiases(path, *owners[path]) for path in owners if path in used]
    if not parts:
        raise BaseError(
            f"{base.ref} has no biases where bitfit.blocks and bitfit.front say",
            "choose another method; LASR, for one, has few biases",
        )
    return parts
