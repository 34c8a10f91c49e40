"""From CTC logits to token ids."""

from __future__ import annotations

from torch import Tensor


def greedy_path(logits: Tensor, lengths: Tensor) -> list[list[int]]:
    """Return the best token of every frame.

    Args:
        logits: (batch, frames, vocabulary).
        lengths: (batch,) valid frames of each utterance.

    Returns:
        One list a batch entry, ``lengths[i]`` long, blanks and repeats included.
    """
    best = logits.argmax(-1).cpu()
    return [row[:length].tolist() for row, length in zip(best, lengths.tolist(), strict=True)]


def collapse(path: list[int], blank_id: int) -> list[int]:
    """Return the labels of a CTC path: repeats merged, then blanks dropped (Graves et al. 2006)."""
    return [
        token
        for position, token in enumerate(path)
        if token != blank_id and (position == 0 or token != path[position - 1])
    ]
