"""From frames to labels: what differs between a CTC base and a transducer."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from tpactl.bases.ctc import CTC
from tpactl.bases.transducer import Transducer


class Decoder(Protocol):
    """How a kind of base turns audio into frames, and these into labels."""

    name: str
    """``ctc``, ``rnnt`` or ``tdt``."""
    head_path: str
    """Module path of the last layer, which gives the logits of labels."""

    @property
    def blank_id(self) -> int:
        """Return the blank's token id."""

    def frames(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return (batch, frames, width): all that is read of the audio."""

    def labels(self, frames: Tensor, lengths: Tensor) -> list[list[int]]:
        """Return the greedy labels of each utterance, blanks left out.

        Args:
            frames: of ``frames``.
            lengths: (batch,) valid frames, on the CPU.
        """

    def probe(self, frames: Tensor) -> Tensor:
        """Return (batch, frames, outputs) logits in which every part of the model has its say."""

    def fewest_frames(self, labels: Tensor) -> int:
        """Return how many frames the (labels,) need at least."""

    def is_above_blocks(self, path: str) -> bool:
        """Return whether no Conformer block depends on the module at ``path``."""


def decoder_of(model: nn.Module) -> Decoder:
    """Return the decoder of a model that ``tpactl.bases.load`` accepts."""
    return Transducer(model) if hasattr(model, "joint") else CTC(model)
