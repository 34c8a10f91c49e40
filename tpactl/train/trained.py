"""What a method trains on a base: its parameters, its modes, and how its result is kept and saved.

The loop knows only ``Trained``. A method that is an adapter needs nothing here; a new kind of
training that is none gets a class beside these two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tpactl.adapters import store
from tpactl.adapters.adapter import Adapter
from tpactl.adapters.attach import attach
from tpactl.adapters.methods import FULL, find
from tpactl.bases.base import Base
from tpactl.formats.run import RunConfig
from tpactl.train.save import save_model

State = dict[str, Tensor]


class Trained(Protocol):
    """The part of a base that a training changes."""

    adapter_parameters: int
    head_parameters: int
    num_parameters: int
    """All trained, head included."""

    @property
    def adapter(self) -> Adapter | None:
        """Return the adapter that is trained; ``None`` where that is the whole model."""

    def body(self) -> list[nn.Parameter]:
        """Return the trained parameters outside the decoder."""

    def head(self) -> list[nn.Parameter]:
        """Return the trained parameters of the decoder: the head, or what stands for it."""

    def learning(self, yes: bool) -> None:
        """Switch dropout on or off; BatchNorm never leaves ``eval()``."""

    def state(self) -> State:
        """Return copies of all trained tensors, on the CPU."""

    def restore(self, state: State) -> None:
        """Put back what ``state`` returned."""

    def save(self, run: Path) -> None:
        """Write the result into the run folder."""

    def release(self) -> None:
        """Leave the base as it was found, frozen."""


def begin(base: Base, config: RunConfig) -> Trained:
    """Return what ``config.method`` trains on ``base``, ready for the first step.

    Raises:
        UsageError: no such method, or a shape that does not fit the base.
        MachineError: the method needs a library that is not installed.
    """
    if config.method == FULL:
        return WholeModel(base, dropout=bool(config.training.dropout))
    section = find(config.method).section
    adapter = attach(
        base,
        config.method,
        getattr(config, section) if section else None,
        decoder=config.decoder,
        seed=config.training.seed,
    )
    return AdapterOnly(base, adapter, dropout=bool(config.training.dropout))


class AdapterOnly:
    """An adapter and its head are trained; the base stays frozen bit for bit.

    Args:
        base: with ``adapter`` attached.
        adapter: what is trained.
        dropout: in training steps the base drops units as it did when it was trained.
    """

    def __init__(self, base: Base, adapter: Adapter, *, dropout: bool = False) -> None:
        self._base = base
        self._dropout = dropout
        self.adapter = adapter
        self.adapter_parameters = adapter.adapter_parameters
        self.head_parameters = adapter.head_parameters
        self.num_parameters = adapter.num_parameters

    def body(self) -> list[nn.Parameter]:
        """Return the parameters of the adapter's parts."""
        return list(self.adapter.parts.parameters())

    def head(self) -> list[nn.Parameter]:
        """Return the parameters of the decoder modules that are trained whole."""
        return list(self.adapter.decoder.parameters())

    def learning(self, yes: bool) -> None:
        """Switch the adapter's dropout, and the base's where the configuration wants it."""
        _switch(self._base, yes and self._dropout)
        self.adapter.train(yes)

    def state(self) -> State:
        """Return copies of the adapter's tensors."""
        return self.adapter.tensors()

    def restore(self, state: State) -> None:
        """Put the adapter's tensors back."""
        self.adapter.load_tensors(state)

    def save(self, run: Path) -> None:
        """Write ``run/adapter``."""
        store.save(self.adapter, run / "adapter")

    def release(self) -> None:
        """Take the adapter off the base."""
        _switch(self._base, False)
        self.adapter.deactivate()


class WholeModel:
    """Full fine-tuning: every parameter is trained, BatchNorm's running statistics stay frozen."""

    def __init__(self, base: Base, *, dropout: bool) -> None:
        self._base = base
        self._dropout = dropout
        base.model.requires_grad_(True)
        self.adapter = None
        self.adapter_parameters = 0
        self.head_parameters = sum(p.numel() for p in base.head.parameters())
        self.num_parameters = base.num_parameters

    def body(self) -> list[nn.Parameter]:
        """Return every parameter but the head's."""
        head = {id(p) for p in self._base.head.parameters()}
        return [p for p in self._base.model.parameters() if id(p) not in head]

    def head(self) -> list[nn.Parameter]:
        """Return the parameters of the base's head."""
        return list(self._base.head.parameters())

    def learning(self, yes: bool) -> None:
        """Switch the base's own dropout where the configuration wants it."""
        _switch(self._base, yes and self._dropout)

    def state(self) -> State:
        """Return copies of all parameters; buffers do not change."""
        return {
            name: parameter.detach().cpu().clone()
            for name, parameter in self._base.model.named_parameters()
        }

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Put all parameters back."""
        for name, parameter in self._base.model.named_parameters():
            parameter.copy_(state[name])

    def save(self, run: Path) -> None:
        """Write ``run/model``, a model directory like the base's."""
        save_model(self._base, run / "model")

    def release(self) -> None:
        """Freeze the model again; it keeps its new weights."""
        self._base.model.eval().requires_grad_(False)


def _switch(base: Base, training: bool) -> None:
    """Switch the base's dropout; BatchNorm keeps its running statistics in any case."""
    if base.model.training == training:
        return
    base.model.train(training)
    for module in base.model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
