"""Dev WER: how a training is steered. Reports come from ``tpactl eval``, on other utterances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tpactl.bases.base import Base
from tpactl.bases.recognise import plan_batches
from tpactl.formats.run import TrainingSettings
from tpactl.scoring.wer import count, count_characters, rate
from tpactl.train.examples import Split
from tpactl.train.ranks import Ranks

LogitsOf = Callable[[Sequence[int]], tuple[Tensor, Tensor]]
"""Utterances to (batch, frames, vocabulary) logits and their lengths."""


@dataclass(frozen=True)
class Score:
    """Error rates on the dev split, as fractions, both texts in the base's own alphabet."""

    wer: float
    cer: float

    @property
    def rank(self) -> tuple[float, float]:
        """The smaller the better: WER first, CER where it is equal."""
        return (self.wer, self.cer)


def measuring_batch_s(settings: TrainingSettings) -> float:
    """Return the seconds of audio a batch of a dev measurement, which keeps no activations."""
    assert isinstance(settings.batch_s, float | int)
    return 2 * settings.batch_s / settings.accumulate


def measuring_batches(base: Base, durations: Sequence[float], batch_s: float) -> list[list[int]]:
    """Return the batches in which ``measure`` goes through utterances of these durations."""
    return plan_batches(durations, batch_s, one_length=base.family.padding_leaks)


@torch.no_grad()
def measure(
    base: Base,
    dev: Split,
    *,
    batch_s: float,
    ranks: Ranks | None = None,
    logits_of: LogitsOf | None = None,
) -> Score:
    """Return the greedy error rates of ``base`` on ``dev``, with whatever adapter is active.

    Args:
        base: in ``eval()``.
        dev: at least one example with words in its reference.
        batch_s: seconds of audio a batch, padding included.
        ranks: the processes that share the batches and all return the same; alone without them.
        logits_of: computes a batch of ``dev`` in another way than from its features.
    """
    batches = measuring_batches(base, dev.durations, batch_s)
    mine = batches if ranks is None else batches[ranks.index :: ranks.count]
    heard: dict[int, str] = {}
    for batch in mine:
        if logits_of is None:
            logits, lengths = base.logits(base.collate(dev.features(batch)))
        else:
            logits, lengths = logits_of(batch)
        texts = [base.prepare_text(text) for text in base.decode(logits, lengths)]
        heard.update(zip(batch, texts, strict=True))
    for others in [] if ranks is None else ranks.gather(heard):
        heard.update(others)
    hypotheses = [heard[index] for index in range(len(dev))]
    return Score(
        wer=rate(count(dev.references, hypotheses)),
        cer=rate(count_characters(dev.references, hypotheses)),
    )
