"""Blocks compiled while a training's steps run through them, and at no other time.

A compiler melts the many small kernels between two matrix products into a few. What it cannot
compile, or not on this machine, is computed as it always was, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tpactl.adapters.part import computing
from tpactl.train.engine import Forward
from tpactl.train.memory import is_out_of_memory


class Compiled:
    """``forward`` with ``modules`` compiled in it; hooks on and in them stay.

    Before the first pass that a loss may follow, one is made for nothing, forward and backward: the
    compiler may fail in both.

    Args:
        forward: calls ``modules``.
        modules: alike ones are compiled once for all of them.
        parameters: that are trained.
        dynamic: once for every shape; otherwise anew for each, a little faster afterwards.
        note: told where the modules cannot be compiled.
        backend: of ``torch.compile``.
    """

    def __init__(
        self,
        forward: Forward,
        modules: Sequence[nn.Module],
        parameters: Sequence[nn.Parameter],
        *,
        dynamic: bool,
        note: Callable[[str], None],
        backend: str | Callable[..., object] = "inductor",
    ) -> None:
        self._forward = forward
        self._modules = [
            (module, torch.compile(module.forward, dynamic=dynamic, backend=backend))
            for module in modules
        ]
        self._parameters = list(parameters)
        self._note = note
        self._is_tried = False

    def __call__(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits; see ``Forward``."""
        try:
            if not self._is_tried and torch.is_grad_enabled():
                self._is_tried = True
                self._try(inputs, lengths)
            return self._compiled(inputs, lengths)
        # Compilers fail in classes of their own, of the compiler they call, and of the system; and
        # at any later shape.
        except Exception as error:
            if is_out_of_memory(error) or not self._modules:
                raise
            self._modules.clear()
            inner = getattr(error, "inner_exception", error)
            # The first line often says where, and the next ones what.
            reason = " ".join(str(inner).split())[:300]
            self._note(f"blocks cannot be compiled and are computed as they are: {reason}")
            return self._forward(inputs, lengths)

    def _try(self, inputs: Tensor, lengths: Tensor) -> None:
        logits = self._compiled(inputs, lengths)
        if logits.requires_grad:
            torch.autograd.grad(logits.sum(), self._parameters, allow_unused=True)

    def _compiled(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        with computing(self._modules):
            return self._forward(inputs, lengths)
