"""An adapter on a base: its trained tensors, and the hooks through which the base feels them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tpactl.adapters.bottleneck import ParallelBottleneck
from tpactl.bases.base import Base
from tpactl.bases.blocks import FeedForward
from tpactl.errors import IntegrityError
from tpactl.formats.adapter import AdapterConfig, TPASettings


@contextmanager
def base_alone(base: Base) -> Iterator[None]:
    """Take the active adapter's hooks off ``base`` for a while."""
    active: Adapter | None = base.active_adapter
    if active is not None:
        active.deactivate()
    try:
        yield
    finally:
        if active is not None:
            active.activate()


class Adapter(nn.Module):
    """Bottlenecks beside feed-forward modules of a base, and a CTC head of its own.

    The base is never changed. While the adapter is active, forward hooks add each bottleneck's
    output to its feed-forward module's and put the trained head in the base head's place;
    deactivated, the hooks are gone and the base computes what it always did.

    Args:
        base: where it belongs.
        name: for messages and for choosing among several.
        method: the registered method that made it.
        peft_type: as ``adapter_config.json`` names the method.
        sites: feed-forward modules and their bottlenecks.
        settings: its shape, ``None`` for a method without bottlenecks.
        block_indices: the blocks that carry bottlenecks.
    """

    def __init__(
        self,
        base: Base,
        *,
        name: str,
        method: str,
        peft_type: str,
        sites: list[tuple[FeedForward, ParallelBottleneck]],
        settings: TPASettings | None,
        block_indices: list[int],
    ) -> None:
        super().__init__()
        self.name = name
        self.method = method
        self.peft_type = peft_type
        self.settings = settings
        self.block_indices = block_indices
        self.bottlenecks = nn.ModuleList(bottleneck for _, bottleneck in sites)
        # Copied while no hook is on it: a copy carries hooks along, and another adapter's head.
        with base_alone(base):
            self.head = copy.deepcopy(base.head).float().requires_grad_(True)
        # A tuple hides the base from nn.Module: its tensors are not this module's.
        self._base = (base,)
        self._sites = [site for site, _ in sites]
        self._handles: list[RemovableHandle] = []
        self.to(base.device)

    @property
    def base(self) -> Base:
        """The base it belongs to."""
        return self._base[0]

    @property
    def is_active(self) -> bool:
        """Whether its hooks are in place."""
        return bool(self._handles)

    @property
    def adapter_parameters(self) -> int:
        """Trained parameters in the bottlenecks."""
        return sum(p.numel() for p in self.bottlenecks.parameters())

    @property
    def head_parameters(self) -> int:
        """Trained parameters in the head."""
        return sum(p.numel() for p in self.head.parameters())

    @property
    def num_parameters(self) -> int:
        """All trained parameters."""
        return self.adapter_parameters + self.head_parameters

    def activate(self) -> None:
        """Put the hooks in place, in the stead of whatever adapter was active on the base."""
        if self.is_active:
            return
        if self.base.active_adapter is not None:
            self.base.active_adapter.deactivate()
        reads_residual = self.settings is not None and self.settings.input == "residual"
        for site, bottleneck in self.sites():
            self._handles += _hook(site, bottleneck, reads_residual=reads_residual)
        self._handles.append(self.base.head.register_forward_hook(self._replace_logits))
        self.base.active_adapter = self

    def deactivate(self) -> None:
        """Remove the hooks; the base computes as if the adapter had never been."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self.base.active_adapter is self:
            self.base.active_adapter = None

    def config(self, base_digest: str) -> AdapterConfig:
        """Return how to rebuild this adapter on the base with ``base_digest``."""
        shape: dict[str, Any] = {}
        if self.settings is not None:
            shape = {
                "bottleneck_dim": self.settings.bottleneck_dim,
                "adapter_input": self.settings.input,
                "activation": self.settings.activation,
                "scale": self.settings.scale,
                "adapter_dropout": self.settings.dropout,
                "initialisation": self.settings.initialisation,
                "blocks": self.block_indices,
            }
        return AdapterConfig(
            peft_type=self.peft_type,
            base_model_name_or_path=self.base.ref,
            base_model_digest=base_digest,
            target_modules=[site.path for site in self._sites],
            modules_to_save=[self.base.head_path],
            num_parameters=self.num_parameters,
            **shape,
        )

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every trained tensor under the name it is stored by, in a fixed order."""
        for site, bottleneck in self.sites():
            for name, tensor in bottleneck.named_parameters():
                yield f"{site.path}.adapter.{name}", tensor
        for name, tensor in self.head.named_parameters():
            yield f"{self.base.head_path}.{name}", tensor

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

    def sites(self) -> Iterator[tuple[FeedForward, ParallelBottleneck]]:
        """Yield each feed-forward module with the bottleneck beside it."""
        for site, bottleneck in zip(self._sites, self.bottlenecks, strict=True):
            assert isinstance(bottleneck, ParallelBottleneck)
            yield site, bottleneck

    def _replace_logits(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        hidden = args[0]
        if not torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(next(self.head.parameters()).dtype)
        return self.head(hidden)


def _hook(
    site: FeedForward, bottleneck: ParallelBottleneck, *, reads_residual: bool
) -> list[RemovableHandle]:
    residual: list[Tensor] = []

    def remember(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        residual[:] = [args[0]]

    def add(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return out + bottleneck(residual.pop() if reads_residual else args[0])

    handles = [site.module.register_forward_hook(add)]
    if reads_residual:
        handles.append(site.norm.register_forward_pre_hook(remember))
    return handles
