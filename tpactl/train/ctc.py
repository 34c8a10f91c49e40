"""The CTC loss of a batch, or of a part of one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tpactl.bases.fast import kernels

CLASSES = 1024
"""That a kernel handles at once."""

MOST_STATES = 4096
"""That a kernel can hold; labels and blanks of an utterance, rounded up to a power of two."""


def ctc_loss(
    logits: Tensor,
    lengths: Tensor,
    labels: Tensor,
    label_lengths: Tensor,
    blank_id: int,
    num_labels: int,
) -> Tensor:
    """Return the CTC loss divided by ``num_labels``.

    Every label weighs the same, however the batch was cut; an utterance that CTC cannot align adds
    nothing. On a CUDA device nobody waits for it: the library's loss copies lengths to the device,
    and until they are there nothing further is handed over.

    Args:
        logits: (batch, frames, vocabulary).
        lengths: (batch,) valid frames, on the CPU.
        labels: (sum of label_lengths,) on the CPU.
        label_lengths: (batch,) on the CPU.
        blank_id: the CTC blank.
        num_labels: of the whole update, of which this may be a part.
    """
    log_probs = F.log_softmax(logits.float(), dim=-1)
    if kernels.can_run(logits.device) and num_states(label_lengths) <= MOST_STATES:
        total = by_kernel(log_probs, lengths, labels, label_lengths, blank_id)
    else:
        total = F.ctc_loss(
            log_probs.transpose(0, 1),
            labels.to(logits.device, non_blocking=True),
            lengths,
            label_lengths,
            blank=blank_id,
            reduction="sum",
            zero_infinity=True,
        )
    return total / num_labels


def by_kernel(
    log_probs: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank_id: int
) -> Tensor:
    """Return the sum of the losses, with a gradient for logits.

    Args:
        log_probs: (batch, frames, vocabulary), of ``log_softmax``.
        lengths: see ``ctc_loss``.
        labels: see ``ctc_loss``.
        label_lengths: see ``ctc_loss``.
        blank_id: see ``ctc_loss``.
    """
    rows = pad_sequence(list(labels.split(label_lengths.tolist())), batch_first=True)
    given = [_sent(part, log_probs.device) for part in (rows, lengths, label_lengths)]
    losses: Tensor = _Losses.apply(log_probs, *given, blank_id, num_states(label_lengths))
    return losses.sum()


def num_states(label_lengths: Tensor) -> int:
    """Return the power of two that holds the states of the longest transcript."""
    return kernels.block(2 * int(label_lengths.max()) + 1)


def _sent(numbers: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        numbers = numbers.pin_memory()
    return numbers.to(device, non_blocking=True)


class _Losses(torch.autograd.Function):
    """The loss of each utterance, 0 where there is no path.

    ``log_probs`` is taken for logits in the backward pass, whose gradient is known: that of a
    softmax already done changes nothing.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_probs: Tensor,
        labels: Tensor,
        lengths: Tensor,
        label_lengths: Tensor,
        blank_id: int,
        states: int,
    ) -> Tensor:
        from tpactl.train import ctc_kernel  # it imports Triton

        log_probs = log_probs.contiguous()
        batch, frames, classes = log_probs.shape
        table = log_probs.new_empty(2, batch, frames, states)
        losses = log_probs.new_empty(batch)
        sizes = (batch, frames, classes, labels.shape[1], blank_id, states)
        ctc_kernel.paths[batch, 2](log_probs, labels, lengths, label_lengths, table, losses, *sizes)
        ctx.save_for_backward(log_probs, labels, lengths, label_lengths, table, losses)
        ctx.sizes = sizes
        return losses.masked_fill(losses.isinf(), 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from tpactl.train import ctc_kernel

        log_probs = ctx.saved_tensors[0]
        out = torch.empty_like(log_probs)
        batch, frames, _, _, _, _ = ctx.sizes
        ctc_kernel.gradients[batch, frames](
            *ctx.saved_tensors, gradients[0].contiguous(), out, *ctx.sizes, CLASSES
        )
        return out, None, None, None, None, None
