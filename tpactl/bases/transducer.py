"""Transducers: labels depend on the frames and on the labels before (RNN-T, and TDT).

A prediction network reads the labels so far, and a joint network adds its output to a frame's and
gives the logits of the next label, the blank among them. In an RNN-T (Graves 2012, arXiv:1211.3711)
a blank goes on to the next frame and a label stays; in a TDT (Xu et al. 2023, arXiv:2304.06795) the
joint network also says by how many frames to go on.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

ABOVE = ("encoder_projector", "decoder", "joint")
"""Modules of a transducer that no block depends on: the projection of the encoder's frames, the
prediction network, the joint network."""


class Transducer:
    """The decoder of a transducer base.

    Whatever is computed goes through the modules themselves, and with all utterances of a batch in
    its order, so that an adapter is heard in them.

    Args:
        model: ``ParakeetForRNNT`` or ``ParakeetForTDT`` of transformers.
    """

    head_path = "joint.head"
    """The joint network's output layer; what ``decoder: head`` trains."""

    def __init__(self, model: nn.Module) -> None:
        self._model = cast(Any, model)
        config = self._model.config
        self.vocab_size = int(config.vocab_size)
        self.blank_id = int(config.blank_token_id)
        self.max_symbols = int(config.max_symbols_per_step)
        """Labels that greedy decoding emits at one frame at most."""
        self.durations = tuple(int(d) for d in getattr(config, "durations", ()))
        """Frames to go on that a TDT chooses from; none for an RNN-T."""
        self.num_outputs = self.vocab_size + len(self.durations)
        self.name = "tdt" if self.durations else "rnnt"

    def frames(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return (batch, frames, joint width): the encoder's frames as the joint network adds them.

        They are no logits yet: see ``join``.
        """
        out = self._model.get_audio_features(inputs, attention_mask=mask)
        frames: Tensor = out.pooler_output
        return frames

    def predict(self, history: Tensor, state: Any = None) -> Tensor:
        """Return the prediction network's (batch, labels + 1, joint width).

        It is small and recurrent, so that it computes in its weights' precision even under
        autocast.

        Args:
            history: (batch, labels + 1), the blank and the labels after it.
            state: transformers' cache, from which it goes on; changed.
        """
        with torch.autocast(history.device.type, enabled=False):
            prediction: Tensor = self._model.decoder(history, cache=state)
        return prediction

    def join(self, frames: Tensor, prediction: Tensor) -> Tensor:
        """Return (batch, ..., outputs) logits of the next label, then of the durations of a TDT.

        Args:
            frames: (batch, ..., joint width) of ``frames``.
            prediction: (batch, ..., joint width) of ``predict``, broadcast against it.
        """
        logits: Tensor = self._model.joint(
            decoder_hidden_states=prediction.to(frames.dtype), encoder_hidden_states=frames
        )
        return logits

    @torch.no_grad()
    def labels(self, frames: Tensor, lengths: Tensor) -> list[list[int]]:
        """Return the greedy labels of each utterance, all of them searched side by side.

        A frame at which ``max_symbols`` labels were emitted is left, for a TDT too, as NeMo does
        it. (transformers leaves a TDT there until its output is full.)
        """
        from transformers.models.parakeet.generation_parakeet import ParakeetRNNTDecoderCache

        batch, longest, _ = frames.shape
        device = frames.device
        ends, rows = lengths.to(device), torch.arange(batch, device=device)
        durations = torch.tensor(self.durations or (0,), device=device)
        at = torch.zeros(batch, dtype=torch.long, device=device)
        emitted = torch.zeros_like(at)
        last = torch.full((batch, 1), self.blank_id, device=device)
        state = ParakeetRNNTDecoderCache(self._model.config)
        steps: list[Tensor] = []
        while bool((running := at < ends).any()):
            # A row whose last label is the blank keeps its state and its output.
            prediction = self.predict(last, state)
            frame = frames[rows, at.clamp(max=longest - 1)][:, None]
            logits = self.join(frame, prediction)[:, 0]
            best = logits[:, : self.vocab_size].argmax(-1)
            label = torch.where(running, best, self.blank_id)
            is_blank = label == self.blank_id
            ahead = is_blank.long()
            if self.durations:
                chosen = durations[logits[:, self.vocab_size :].argmax(-1)]
                # A blank that stays would be read for ever.
                ahead = torch.maximum(chosen, ahead)
            emitted = torch.where(is_blank, 0, emitted + 1)
            ahead = torch.where(emitted >= self.max_symbols, ahead.clamp(min=1), ahead)
            emitted = torch.where(ahead > 0, 0, emitted)
            at = at + ahead
            last = label[:, None]
            steps.append(label)
        if not steps:
            return [[] for _ in range(batch)]
        heard = torch.stack(steps, 1).tolist()
        return [[label for label in row if label != self.blank_id] for row in heard]

    def probe(self, frames: Tensor) -> Tensor:
        """Return (batch, frames, outputs) logits of every frame after three labels.

        Always the same labels, so that the logits can be compared from machine to machine, and
        more than one, so that no weight of the prediction network is without effect on them.
        """
        spread = [self.vocab_size * part // 4 for part in (1, 2, 3)]
        history = [self.blank_id, *((n + (n == self.blank_id)) % self.vocab_size for n in spread)]
        prediction = self.predict(torch.tensor([history], device=frames.device))
        return self.join(frames, prediction[:, -1:].expand(len(frames), -1, -1))

    def fewest_frames(self, labels: Tensor) -> int:
        """Return how many frames ``labels`` need, ``max_symbols`` of them at most at each."""
        slowest = min(self.durations, default=0)
        if slowest:
            return slowest * len(labels) + 1
        return -(-len(labels) // self.max_symbols)

    def is_above_blocks(self, path: str) -> bool:
        """Return whether no block depends on the module at ``path``."""
        return path.split(".")[0] in ABOVE
