"""How probable a transducer finds a transcript: the sum over all its paths through time and labels.

A path begins at frame 0 with no label and ends past the last frame with all of them. At frame ``t``
with ``u`` labels emitted it either goes on by ``d`` frames (a blank) or emits the next label and
goes on by ``d`` frames. In an RNN-T a blank goes one frame and a label none; in a TDT the model
chooses. So both are one sum with other arcs.

Sources: Graves 2012, arXiv:1211.3711, sec. 2.4, for the forward-backward sum and its gradient; Xu
et al. 2023, arXiv:2304.06795, sec. 3, for arcs of several frames; Bagby et al. 2018, "Efficient
implementation of recurrent neural network transducer in TensorFlow", for the cells of one diagonal
side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_NEVER = float("-inf")


@dataclass(frozen=True)
class Arcs:
    """Log probabilities of all steps of one kind.

    Attributes:
        scores: (batch, frames, labels + 1, durations): at a frame, with so many labels emitted.
        durations: frames that each goes on.
    """

    scores: Tensor
    durations: tuple[int, ...]


def negative_log_likelihood(
    blanks: Arcs, labels: Arcs, frames: Tensor, num_labels: Tensor
) -> Tensor:
    """Return (batch,) minus the log probability of each transcript; infinite where no path is.

    Args:
        blanks: none of 0 frames.
        labels: of the next label; what stands after the last one is not looked at.
        frames: (batch,) of each utterance.
        num_labels: (batch,) of each transcript.
    """
    result: Tensor = _Sum.apply(
        blanks.scores, labels.scores, blanks.durations, labels.durations, frames, num_labels
    )
    return result


class _Sum(torch.autograd.Function):
    """The sum and its gradient, by one pass forwards and one backwards."""

    @staticmethod
    def forward(
        ctx: Any,
        blanks: Tensor,
        labels: Tensor,
        blank_durations: tuple[int, ...],
        label_durations: tuple[int, ...],
        frames: Tensor,
        num_labels: Tensor,
    ) -> Tensor:
        device = blanks.device
        frames, num_labels = frames.to(device), num_labels.to(device)
        blanks, labels = _possible(
            blanks, labels, blank_durations, label_durations, frames, num_labels
        )
        batch, longest, positions, _ = blanks.shape
        rows = torch.arange(batch, device=device)
        diagonals = _Diagonals(longest, positions, device)
        before = diagonals.unfold(
            _forwards(
                diagonals.fold(blanks), diagonals.fold(labels), blank_durations, label_durations
            )
        )
        total = before[rows, frames, num_labels]
        ctx.save_for_backward(blanks, labels, before, total, frames, num_labels)
        ctx.durations = blank_durations, label_durations
        return -total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        blanks, labels, before, total, frames, num_labels = ctx.saved_tensors
        blank_durations, label_durations = ctx.durations
        batch, longest, positions, _ = blanks.shape
        diagonals = _Diagonals(longest, positions, blanks.device)
        ends = blanks.new_full((batch, longest + 1, positions), _NEVER)
        ends[torch.arange(batch, device=blanks.device), frames, num_labels] = 0
        after = diagonals.unfold(
            _backwards(
                diagonals.fold(ends[..., None])[0],
                diagonals.fold(blanks),
                diagonals.fold(labels),
                blank_durations,
                label_durations,
            )
        )
        # An utterance without a path teaches nothing.
        reachable = total.isfinite()
        total = torch.where(reachable, total, 0.0)[:, None, None]
        scale = torch.where(reachable, gradients[0], 0.0)[:, None, None, None]
        start = before[:, :longest] - total
        # Beyond the last frame and the last label there is nothing.
        far = F.pad(after, (0, 1, 0, max(*blank_durations, *label_durations)), value=_NEVER)

        def share(scores: Tensor, durations: tuple[int, ...], emitted: int) -> Tensor:
            """Return the gradient: how much of the probability goes through each arc."""
            through = [
                start + scores[..., k] + far[:, d : d + longest, emitted : emitted + positions]
                for k, d in enumerate(durations)
            ]
            return -torch.stack(through, -1).exp() * scale

        return (
            share(blanks, blank_durations, 0),
            share(labels, label_durations, 1),
            None,
            None,
            None,
            None,
        )


def _possible(
    blanks: Tensor,
    labels: Tensor,
    blank_durations: Sequence[int],
    label_durations: Sequence[int],
    frames: Tensor,
    num_labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return both with the arcs that leave an utterance's lattice at minus infinity.

    Only a blank with all labels emitted may reach its end, the frame past the last one.
    """
    _, longest, positions, _ = blanks.shape
    device = blanks.device
    frame = torch.arange(longest, device=device)[None, :, None, None]
    emitted = torch.arange(positions, device=device)[None, None, :, None]
    frames, num_labels = frames[:, None, None, None], num_labels[:, None, None, None]
    reached = frame + torch.tensor(blank_durations, device=device)
    stays = (reached < frames) & (emitted <= num_labels)
    ends = (reached == frames) & (emitted == num_labels)
    blanks = blanks.masked_fill(~(stays | ends), _NEVER)
    reached = frame + torch.tensor(label_durations, device=device)
    stays = (reached < frames) & (emitted < num_labels)
    return blanks, labels.masked_fill(~stays, _NEVER)


class _Diagonals:
    """Cells (frame, labels) by the sum of the two: those of one sum do not depend on each other."""

    def __init__(self, frames: int, positions: int, device: torch.device) -> None:
        self._emitted = torch.arange(positions, device=device)
        self._sums = torch.arange(frames + positions, device=device)[:, None]
        self._frames = frames

    def fold(self, scores: Tensor) -> Tensor:
        """Return (durations, diagonals, batch, labels + 1); a cell that is none is minus infinity.

        Args:
            scores: (batch, frames, labels + 1, durations).
        """
        frame = self._sums - self._emitted
        there = (frame >= 0) & (frame < scores.shape[1])
        taken = scores[:, frame.clamp(0, scores.shape[1] - 1), self._emitted]
        taken = taken.masked_fill(~there[None, :, :, None], _NEVER)
        return taken.permute(3, 1, 0, 2).contiguous()

    def unfold(self, folded: Tensor) -> Tensor:
        """Return (batch, frames + 1, labels + 1) of (diagonals, batch, labels + 1)."""
        frame = torch.arange(self._frames + 1, device=folded.device)[:, None]
        return folded[frame + self._emitted, :, self._emitted].permute(2, 0, 1)


def _forwards(
    blanks: Tensor,
    labels: Tensor,
    blank_durations: Sequence[int],
    label_durations: Sequence[int],
) -> Tensor:
    """Return (diagonals, batch, labels + 1): log probability of all ways to each cell."""
    sums = torch.full_like(blanks[0], _NEVER)
    sums[0, :, 0] = 0
    for n in range(1, len(sums)):
        ways = [sums[n]]
        ways += [sums[n - d] + blanks[k, n - d] for k, d in enumerate(blank_durations) if d <= n]
        for k, d in enumerate(label_durations):
            if d < n:
                way = sums[n - 1 - d] + labels[k, n - 1 - d]
                ways.append(F.pad(way[:, :-1], (1, 0), value=_NEVER))
        sums[n] = torch.stack(ways).logsumexp(0)
    return sums


def _backwards(
    ends: Tensor,
    blanks: Tensor,
    labels: Tensor,
    blank_durations: Sequence[int],
    label_durations: Sequence[int],
) -> Tensor:
    """Return (diagonals, batch, labels + 1): log probability of all ways from each cell on."""
    sums = ends.clone()
    last = len(sums) - 1
    for n in range(last - 1, -1, -1):
        ways = [sums[n]]
        ways += [sums[n + d] + blanks[k, n] for k, d in enumerate(blank_durations) if n + d <= last]
        for k, d in enumerate(label_durations):
            if n + 1 + d <= last:
                way = sums[n + 1 + d][:, 1:] + labels[k, n, :, :-1]
                ways.append(F.pad(way, (0, 1), value=_NEVER))
        sums[n] = torch.stack(ways).logsumexp(0)
    return sums
