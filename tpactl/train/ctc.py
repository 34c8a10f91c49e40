"""The CTC loss of a batch, or of a part of one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
    nothing.

    Args:
        logits: (batch, frames, vocabulary).
        lengths: (batch,) valid frames, on the CPU.
        labels: (sum of label_lengths,) on the CPU.
        label_lengths: (batch,) on the CPU.
        blank_id: the CTC blank.
        num_labels: of the whole update, of which this may be a part.
    """
    log_probabilities = F.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    total = F.ctc_loss(
        log_probabilities,
        labels.to(logits.device, non_blocking=True),
        lengths,
        label_lengths,
        blank=blank_id,
        reduction="sum",
        zero_infinity=True,
    )
    return total / num_labels
