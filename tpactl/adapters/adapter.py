"""An adapter on a base: its trained tensors, put in place and taken off again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tpactl.adapters.bottleneck import ParallelBottleneck
from tpactl.adapters.chosen import chosen_blocks
from tpactl.adapters.decoder import OwnModule
from tpactl.adapters.methods import Method
from tpactl.adapters.part import Part, Removable
from tpactl.adapters.residual import SiteBottleneck
from tpactl.bases.base import Base
from tpactl.bases.blocks import Site
from tpactl.errors import IntegrityError
from tpactl.formats.adapter import AdapterConfig
from tpactl.formats.files import to_builtins


@contextmanager
def base_alone(base: Base) -> Iterator[None]:
    """Take the active adapter off ``base`` for a while."""
    active: Adapter | None = base.active_adapter
    if active is not None:
        active.deactivate()
    try:
        yield
    finally:
        if active is not None:
            active.activate()


class Adapter(nn.Module):
    """Parts at modules of a base, and modules of its decoder trained whole.

    The base is never changed. While the adapter is active, hooks let the base compute with its
    parts; deactivated, they are gone and the base computes what it always did.

    Args:
        base: where it belongs.
        name: for messages and for choosing among several.
        method: that made it.
        settings: its shape, every key decided; ``None`` for a method without one.
        parts: in the order of the computation.
        decoder: the modules trained whole.
    """

    def __init__(
        self,
        base: Base,
        *,
        name: str,
        method: Method,
        settings: Any,
        parts: list[Part],
        decoder: list[OwnModule],
    ) -> None:
        super().__init__()
        self.name = name
        self.method = method
        self.settings = settings
        self.parts = nn.ModuleList(parts)
        self.decoder = nn.ModuleList(decoder)
        blocks = getattr(settings, "blocks", [])
        self.block_indices = chosen_blocks(blocks, len(base.blocks)) if blocks else []
        # A tuple hides the base from nn.Module: its tensors are not this module's.
        self._base = (base,)
        self._in_place: list[Removable] = []
        self.to(base.device)

    @property
    def base(self) -> Base:
        """The base it belongs to."""
        return self._base[0]

    @property
    def head(self) -> nn.Module:
        """The head that is heard while the adapter is active: its own, or the base's."""
        for part in self._all_parts():
            if isinstance(part, OwnModule) and part.path == self.base.head_path:
                return part.own
        return self.base.head

    @property
    def is_active(self) -> bool:
        """Whether it is in place."""
        return self.base.active_adapter is self

    @property
    def adapter_parameters(self) -> int:
        """Trained parameters outside the decoder modules."""
        return sum(p.numel() for p in self.parts.parameters())

    @property
    def head_parameters(self) -> int:
        """Trained parameters in the decoder modules."""
        return sum(p.numel() for p in self.decoder.parameters())

    @property
    def num_parameters(self) -> int:
        """All trained parameters."""
        return self.adapter_parameters + self.head_parameters

    def activate(self) -> None:
        """Put it in place, in the stead of whatever adapter was active on the base."""
        if self.is_active:
            return
        if self.base.active_adapter is not None:
            self.base.active_adapter.deactivate()
        for part in self._all_parts():
            self._in_place += part.put_on()
        self.base.active_adapter = self

    def deactivate(self) -> None:
        """Take it off; the base computes as if the adapter had never been."""
        for thing in self._in_place:
            thing.remove()
        self._in_place.clear()
        if self.base.active_adapter is self:
            self.base.active_adapter = None

    def config(self, base_digest: str) -> AdapterConfig:
        """Return how to rebuild this adapter on the base with ``base_digest``."""
        keys: dict[str, Any] = dict(self.method.marks)
        for key, value in to_builtins(self.settings).items() if self.settings else ():
            keys[self.method.keys.get(key, key)] = list(value) if key == "sites" else value
        if self.block_indices:
            keys["blocks"] = self.block_indices
        keys |= {"target_modules": [], "modules_to_save": []}
        for part in self._all_parts():
            for key in part.listed_under:
                keys.setdefault(key, []).append(part.path)
        return AdapterConfig(
            peft_type=self.method.peft_type,
            task_type=self.base.decoder.name.upper(),
            base_model_name_or_path=self.base.ref,
            base_model_digest=base_digest,
            num_parameters=self.num_parameters,
            **keys,
        )

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every trained tensor under the name it is stored by, in a fixed order."""
        for part in self._all_parts():
            yield from part.stored()

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of all trained tensors, on the CPU."""
        return {name: t.detach().cpu().clone() for name, t in self.named_tensors()}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put ``tensors`` into place, all or none.

        Raises:
            IntegrityError: a name too many or too few, another shape, or a value not finite.
        """
        own = dict(self.named_tensors())
        faults = [f"missing: {name}" for name in own.keys() - tensors.keys()]
        faults += [f"not of this adapter: {name}" for name in tensors.keys() - own.keys()]
        for name in own.keys() & tensors.keys():
            if own[name].shape != tensors[name].shape:
                shapes = f"{list(tensors[name].shape)}, expected {list(own[name].shape)}"
                faults.append(f"{name}: shape {shapes}")
            elif not torch.isfinite(tensors[name]).all():
                faults.append(f"{name}: holds NaN or infinite values")
        if faults:
            raise IntegrityError(
                f"adapter {self.name!r}: its tensors are not those its configuration describes",
                "copy the adapter again from where it was trained",
                sorted(faults)[:20],
            )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])

    def sites(self) -> Iterator[tuple[Site, ParallelBottleneck]]:
        """Yield each site with its bottleneck, for adapters that have such."""
        for part in self.parts:
            if isinstance(part, SiteBottleneck):
                yield part.site, part.adapter

    def _all_parts(self) -> Iterator[Part]:
        for part in (*self.parts, *self.decoder):
            assert isinstance(part, Part)
            yield part
