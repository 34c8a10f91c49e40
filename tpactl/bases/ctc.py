"""CTC: every frame speaks for itself, and repeats and blanks are dropped (Graves et al. 2006)."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from tpactl.bases.decoding import collapse, greedy_path


class CTC:
    """The decoder of a CTC base: one linear layer, whose logits are what it reads and decides by.

    Args:
        model: a model for CTC of transformers.
    """

    name = "ctc"

    def __init__(self, model: nn.Module) -> None:
        self._model = cast(Any, model)
        self.head_path = "ctc_head" if hasattr(model, "ctc_head") else "lm_head"

    @property
    def blank_id(self) -> int:
        """The blank's token id; transformers stores it as the padding token."""
        return int(self._model.config.pad_token_id)

    def frames(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return (batch, frames, vocabulary) logits."""
        logits: Tensor = self._model(inputs, attention_mask=mask).logits
        return logits

    def labels(self, frames: Tensor, lengths: Tensor) -> list[list[int]]:
        """Return the greedy labels of each utterance."""
        return [collapse(path, self.blank_id) for path in greedy_path(frames, lengths)]

    def probe(self, frames: Tensor) -> Tensor:
        """Return ``frames``, which are logits already."""
        return frames

    def fewest_frames(self, labels: Tensor) -> int:
        """Return how many frames ``labels`` need: a blank stands between two equal ones."""
        return len(labels) + int((labels[1:] == labels[:-1]).sum())

    def is_above_blocks(self, path: str) -> bool:
        """Return whether no block depends on the module at ``path``."""
        return path == self.head_path
