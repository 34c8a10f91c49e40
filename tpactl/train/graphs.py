"""Steps as CUDA graphs: a few hundred to thousands of kernels started by one call.

A step of a small model, or of a large one whose frozen part costs little, takes as long as Python
needs to start its kernels. So each shape of batch is captured once, forward and backward, and
replayed. The loss lies between the two graphs: CTC reads lengths and labels on the CPU.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tpactl.bases.base import Features
from tpactl.errors import reason_of
from tpactl.train.engine import Eager, LossOf
from tpactl.train.memory import is_out_of_memory
from tpactl.train.shapes import Shape

WARM_UP = 3
"""Passes before the first capture: libraries choose their kernels and the compiler compiles in
them. Before a later one a single pass is enough."""


@dataclass
class _Captured:
    """One shape's graphs and the tensors they read and write."""

    inputs: Tensor
    lengths: Tensor
    logits: Tensor
    logits_grad: Tensor
    forward: torch.cuda.CUDAGraph
    backward: torch.cuda.CUDAGraph


class Graphed:
    """Replays captured passes; a batch that fits no shape is computed op by op.

    Args:
        eager: what is captured.
        parameters: that are trained; their gradients stay in the same place from now on.
        shapes: to pad batches to.
        tail: shape of one frame of the inputs: (bands,), or () for samples.
        dtype: of the inputs.
        note: told where something cannot be captured, and every step is computed op by op.
    """

    keeps_gradients: ClassVar[bool] = True

    def __init__(
        self,
        eager: Eager,
        parameters: Sequence[torch.nn.Parameter],
        shapes: Sequence[Shape],
        tail: tuple[int, ...],
        dtype: torch.dtype,
        note: Callable[[str], None],
    ) -> None:
        self._note = note
        self._eager = eager
        self._parameters = list(parameters)
        self._shapes = sorted(shapes, key=lambda shape: shape.area)
        self._tail = tail
        self._dtype = dtype
        self._captured: dict[Shape, _Captured] = {}
        # One pool for all: the passes of different shapes never overlap.
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(eager.device)
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)

    def add_gradients(self, inputs: Features, loss_of: LossOf) -> Tensor:
        """Return the loss; see ``Engine``."""
        rows, frames = inputs.inputs.shape[:2]
        shape = next((s for s in self._shapes if s.holds(rows, frames)), None)
        if shape is None:
            return self._eager.add_gradients(inputs, loss_of)
        try:
            captured = self._pass_of(shape)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._shapes.clear()
            self._note(f"steps cannot be captured and are computed op by op: {reason_of(error)}")
            return self._eager.add_gradients(inputs, loss_of)
        # Rows that stand for nothing are silence of full length: no attention without a key.
        lengths = torch.full((shape.rows,), shape.frames, dtype=torch.long)
        lengths[:rows] = inputs.lengths
        captured.inputs.zero_()
        captured.inputs[:rows, :frames].copy_(inputs.inputs, non_blocking=True)
        captured.lengths.copy_(lengths.pin_memory(), non_blocking=True)
        captured.forward.replay()
        logits = captured.logits.detach()[:rows].requires_grad_(True)
        loss = loss_of(logits, self._eager.output_lengths(inputs.lengths))
        (grad,) = torch.autograd.grad(loss, logits)
        captured.logits_grad.zero_()
        captured.logits_grad[:rows].copy_(grad)
        captured.backward.replay()
        return loss.detach()

    def _pass_of(self, shape: Shape) -> _Captured:
        # The largest first: the others find room in the memory that it took.
        for wanted in (self._shapes[-1], shape):
            if wanted not in self._captured:
                self._captured[wanted] = self._capture(wanted)
        return self._captured[shape]

    def _capture(self, shape: Shape) -> _Captured:
        device = self._eager.device
        inputs = torch.zeros(
            shape.rows, shape.frames, *self._tail, device=device, dtype=self._dtype
        )
        lengths = torch.full((shape.rows,), shape.frames, device=device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            for _ in range(1 if self._captured else WARM_UP):
                logits = self._forward(inputs, lengths)
                logits_grad = torch.zeros_like(logits)
                self._backward(logits, logits_grad)
                del logits
        torch.cuda.current_stream(device).wait_stream(self._stream)
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(forward, pool=self._pool, stream=self._stream):
            logits = self._forward(inputs, lengths)
        with torch.cuda.graph(backward, pool=self._pool, stream=self._stream):
            self._backward(logits, logits_grad)
        return _Captured(inputs, lengths, logits.detach(), logits_grad, forward, backward)

    def _forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        with self._eager.autocast():
            return self._eager.forward(inputs, lengths)

    def _backward(self, logits: Tensor, logits_grad: Tensor) -> None:
        grads = torch.autograd.grad(logits, self._parameters, logits_grad, allow_unused=True)
        new = [grad for grad in grads if grad is not None]
        kept = [p.grad for p, grad in zip(self._parameters, grads, strict=True) if grad is not None]
        torch._foreach_add_([grad for grad in kept if grad is not None], new)
