"""The loss that a base is trained by: CTC, or a transducer's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tpactl.bases.base import Base
from tpactl.bases.transducer import Transducer
from tpactl.train.ctc import ctc_loss
from tpactl.train.lattice import Arcs, negative_log_likelihood

Loss = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""(frames and lengths of ``Base.logits``, labels in a row, how many each utterance has, how many
the whole update has) to the loss an update's label. All but the frames lie on the CPU."""

AT_ONCE = 1 << 25
"""Logits that exist at once. All of a batch would be frames times labels times vocabulary, half a
gigabyte for 20 s of speech and 8,000 pieces."""


def loss_of(base: Base) -> Loss:
    """Return the loss that ``base`` is trained by, with whatever adapter is active."""
    decoder = base.decoder
    if isinstance(decoder, Transducer):
        return TransducerLoss(decoder)
    return lambda frames, lengths, labels, label_lengths, num_labels: ctc_loss(
        frames, lengths, labels, label_lengths, base.blank_id, num_labels
    )


class TransducerLoss:
    """Minus the log probability of the transcripts, divided by the labels of the whole update.

    Every label weighs the same, however the batch was cut; an utterance without a path adds
    nothing. The durations of a TDT are part of the probability; its logits are not
    under-normalised (the paper's sigma is 0, as transformers has it).

    The logits are computed a few frames at a time, and again for the gradient, so that those of the
    whole batch never exist.

    Args:
        decoder: of the base.
    """

    def __init__(self, decoder: Transducer, at_once: int = AT_ONCE) -> None:
        self._decoder = decoder
        self._at_once = at_once

    def __call__(
        self,
        frames: Tensor,
        lengths: Tensor,
        labels: Tensor,
        label_lengths: Tensor,
        num_labels: int,
    ) -> Tensor:
        """Return the loss; arguments as of ``Loss``."""
        decoder = self._decoder
        rows = [
            torch.cat([row.new_tensor([decoder.blank_id]), row])
            for row in labels.split(label_lengths.tolist())
        ]
        history = torch.nn.utils.rnn.pad_sequence(
            rows, batch_first=True, padding_value=decoder.blank_id
        ).to(frames.device, non_blocking=True)
        # cuDNN computes no gradient of a recurrent layer in eval(), where ours always is.
        with torch.backends.cudnn.flags(enabled=False):
            prediction = decoder.predict(history)
        cells = prediction.shape[0] * prediction.shape[1]
        at_once = max(1, self._at_once // (cells * decoder.num_outputs))
        parts = [
            checkpoint(
                self._arcs,
                some,
                prediction,
                history,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for some in frames.split(at_once, dim=1)
        ]
        blanks, next_labels = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        durations = decoder.durations
        losses = negative_log_likelihood(
            Arcs(blanks, tuple(d for d in durations if d) or (1,)),
            Arcs(next_labels, durations or (0,)),
            lengths,
            label_lengths,
        )
        return losses.masked_fill(losses.isinf(), 0.0).sum() / num_labels

    def _arcs(self, frames: Tensor, prediction: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Return (batch, frames, labels + 1, durations) scores: of blanks, and of labels."""
        decoder = self._decoder
        logits = decoder.join(frames[:, :, None], prediction[:, None]).float()
        labels, durations = logits.split([decoder.vocab_size, len(decoder.durations)], dim=-1)
        whole = labels.logsumexp(-1, keepdim=True)
        blanks = labels[..., decoder.blank_id, None] - whole
        # The next label of each position; after the last one, which is not looked at, the first.
        following = history.roll(-1, dims=1)[:, None, :, None].expand(-1, frames.shape[1], -1, -1)
        next_labels = labels.gather(-1, following) - whole
        if not decoder.durations:
            return blanks, next_labels
        steps = durations.log_softmax(-1)
        moving = [k for k, d in enumerate(decoder.durations) if d]
        return blanks + steps[..., moving], next_labels + steps
