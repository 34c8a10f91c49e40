"""Dev WER: how a training is steered. Reports come from ``tpactl eval``, on other utterances."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tpactl.bases.base import Base
from tpactl.bases.recognise import plan_batches
from tpactl.scoring.wer import count, count_characters, rate
from tpactl.train.examples import Split


@dataclass(frozen=True)
class Score:
    """Error rates on the dev split, as fractions, both texts in the base's own alphabet."""

    wer: float
    cer: float

    @property
    def rank(self) -> tuple[float, float]:
        """The smaller the better: WER first, CER where it is equal."""
        return (self.wer, self.cer)


@torch.no_grad()
def measure(base: Base, dev: Split, *, batch_s: float) -> Score:
    """Return the greedy error rates of ``base`` on ``dev``, with whatever adapter is active.

    Args:
        base: in ``eval()``.
        dev: at least one example with words in its reference.
        batch_s: seconds of audio a batch, padding included.
    """
    hypotheses = [""] * len(dev)
    for batch in plan_batches(dev.durations, batch_s, one_length=base.family.padding_leaks):
        logits, lengths = base.logits(base.collate(dev.features(batch)))
        for index, text in zip(batch, base.decode(logits, lengths), strict=True):
            hypotheses[index] = base.prepare_text(text)
    return Score(
        wer=rate(count(dev.references, hypotheses)),
        cer=rate(count_characters(dev.references, hypotheses)),
    )
