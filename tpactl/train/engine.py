"""How a batch's gradients come about: op by op, or by a captured graph that is replayed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from tpactl.bases.base import Features

Forward = Callable[[Tensor, Tensor], Tensor]
"""(inputs, lengths), both on the device, to (batch, frames, vocabulary) logits, without waiting."""

LossOf = Callable[[Tensor, Tensor], Tensor]
"""(logits, their lengths on the CPU) to a scalar."""


class Engine(Protocol):
    """Adds the gradients of a batch to those of the trained parameters."""

    keeps_gradients: ClassVar[bool]
    """Gradients stay where they are and are set to zero, never dropped."""

    def add_gradients(self, inputs: Features, loss_of: LossOf) -> Tensor:
        """Return the loss, detached, on the device."""


@dataclass
class Eager:
    """Op by op, by autograd.

    Args:
        forward: what the model computes.
        output_lengths: of the logits, by those of the inputs; on the CPU.
        device: where.
        autocast: makes the context in which ``forward`` runs.
    """

    forward: Forward
    output_lengths: Callable[[Tensor], Tensor]
    device: torch.device
    autocast: Callable[[], AbstractContextManager[None]]
    keeps_gradients: ClassVar[bool] = False

    def add_gradients(self, inputs: Features, loss_of: LossOf) -> Tensor:
        """Return the loss; see ``Engine``."""
        given = inputs.inputs.to(self.device, non_blocking=True)
        lengths = inputs.lengths.to(self.device, non_blocking=True)
        with self.autocast():
            logits = self.forward(given, lengths)
        loss = loss_of(logits, self.output_lengths(inputs.lengths))
        loss.backward()
        return loss.detach()
