"""Dev WER: how a training is steered. Reports come from ``tpactl eval``, on other utterances."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tpactl.bases.base import Base
from tpactl.bases.recognise import plan_batches
from tpactl.scoring.wer import count, count_characters, rate
from tpactl.train.examples import Split
from tpactl.train.ranks import Ranks


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
def measure(base: Base, dev: Split, *, batch_s: float, ranks: Ranks | None = None) -> Score:
    """Return the greedy error rates of ``base`` on ``dev``, with whatever adapter is active.

    Args:
        base: in ``eval()``.
        dev: at least one example with words in its reference.
        batch_s: seconds of audio a batch, padding included.
        ranks: the processes that share the batches and all return the same; alone without them.
    """
    batches = plan_batches(dev.durations, batch_s, one_length=base.family.padding_leaks)
    mine = batches if ranks is None else batches[ranks.index :: ranks.count]
    heard: dict[int, str] = {}
    for batch in mine:
        logits, lengths = base.logits(base.collate(dev.features(batch)))
        texts = [base.prepare_text(text) for text in base.decode(logits, lengths)]
        heard.update(zip(batch, texts, strict=True))
    for others in [] if ranks is None else ranks.gather(heard):
        heard.update(others)
    hypotheses = [heard[index] for index in range(len(dev))]
    return Score(
        wer=rate(count(dev.references, hypotheses)),
        cer=rate(count_characters(dev.references, hypotheses)),
    )
