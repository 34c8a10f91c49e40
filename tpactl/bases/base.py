"""A loaded base model: features in, logits and text out, frozen and always in ``eval()``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tpactl.bases.alphabet import Alphabet
from tpactl.bases.blocks import Block, Family
from tpactl.bases.decoder import decoder_of
from tpactl.bases.decoding import collapse
from tpactl.bases.identity import fingerprint
from tpactl.bases.on_device import extractor_on
from tpactl.formats.identity import BaseIdentity

SAMPLE_RATE = 16_000
"""Hz, of all audio that reaches a base."""


MIN_SAMPLES = 4_000
"""Shorter audio is padded with silence: below it some front ends yield no frame, or NaN."""


@dataclass(frozen=True)
class Features:
    """A batch ready for a base."""

    inputs: Tensor
    """(batch, frames, mel bins), or (batch, samples) for bases that read raw samples. float32."""
    lengths: Tensor
    """(batch,) valid frames or samples, int64."""


class Base:
    """A base model with its tokenizer and feature extractor.

    Made by ``tpactl.bases.load.load_base``. No parameter requires a gradient and no module is in
    training mode, BatchNorm included: whoever trains on top leaves it so.
    """

    def __init__(
        self,
        *,
        ref: str,
        path: Path,
        model: nn.Module,
        tokenizer: Any,
        feature_extractor: Any,
        family: Family,
        blocks: list[Block],
    ) -> None:
        self.ref = ref
        self.path = path
        self.model = model
        self.tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.family = family
        self.blocks = blocks
        self.decoder = decoder_of(model)
        """What makes labels of frames: CTC, or a transducer's networks."""
        self.alphabet = Alphabet(self._round_trip)
        self.active_adapter: Any = None
        """The adapter whose hooks are in place; set by ``tpactl.adapters`` alone."""

    @cached_property
    def identity(self) -> BaseIdentity:
        """The content identity, computed from the files it was loaded from."""
        return fingerprint(self.path)

    @property
    def head_path(self) -> str:
        """Module path of the head: the CTC head, or the output layer of a transducer's joint."""
        return self.decoder.head_path

    @property
    def head(self) -> nn.Module:
        """The module at ``head_path``."""
        return self.model.get_submodule(self.head_path)

    @property
    def blank_id(self) -> int:
        """The blank's token id."""
        return self.decoder.blank_id

    @property
    def vocab_size(self) -> int:
        """Number of labels, the blank included."""
        return int(self.model.config.vocab_size)  # type: ignore[union-attr, arg-type]

    @property
    def d_model(self) -> int:
        """Width of a block's residual stream."""
        return self.blocks[0].ffn1.linear_in.in_features

    @property
    def num_parameters(self) -> int:
        """Parameters of the base, buffers not counted."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return next(self.model.parameters()).dtype

    def extract(self, samples: np.ndarray) -> Tensor:
        """Return one utterance's input to the model, on the CPU.

        Utterances are extracted one at a time, so that neither padding nor company changes them.

        Args:
            samples: (num_samples,) float32 at 16 kHz.

        Returns:
            (frames, mel bins) or (num_samples,), float32.
        """
        features = self._extracted(self.feature_extractor, [samples])
        return features.inputs[0, : features.lengths[0]]

    def _extracted(self, extractor: Any, waves: Sequence[np.ndarray]) -> Features:
        out = extractor(
            [
                wave if (short := MIN_SAMPLES - len(wave)) <= 0 else np.pad(wave, (0, short))
                for wave in waves
            ],
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            return_attention_mask=True,
            padding=True,
        )
        inputs = out[self.feature_extractor.model_input_names[0]]
        mask = out.get("attention_mask")
        if mask is None:
            return Features(inputs, torch.full((len(inputs),), inputs.shape[1]))
        return Features(inputs, mask.sum(1).cpu())

    def collate(self, extracted: Sequence[Tensor]) -> Features:
        """Return utterances of ``extract`` as one zero-padded batch."""
        lengths = torch.tensor([len(row) for row in extracted])
        return Features(nn.utils.rnn.pad_sequence(list(extracted), batch_first=True), lengths)

    def features(self, waves: Sequence[np.ndarray]) -> Features:
        """Return the batch for several waveforms, each (num_samples,) float32 at 16 kHz.

        Where the feature extractor can, they are extracted together on a CUDA device and stay
        there; there padding and company may change the rounding.
        """
        if self._extractor_there is not None:
            extracted = self._extracted(self._extractor_there, waves)
            lengths = extracted.lengths
            inputs = extracted.inputs[:, : int(lengths.max())]
            is_padding = torch.arange(inputs.shape[1])[None] >= lengths[:, None]
            # What an extractor leaves in padded frames is its own affair; in a batch they are zero.
            return Features(inputs.masked_fill(is_padding.to(inputs.device)[..., None], 0), lengths)
        return self.collate([self.extract(wave) for wave in waves])

    @cached_property
    def _extractor_there(self) -> Any:
        on_gpu = self.device.type == "cuda"
        return extractor_on(self.device, self.feature_extractor) if on_gpu else None

    def logits(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return (batch, frames, vocabulary) logits and their (batch,) valid lengths.

        Of a transducer it is (batch, frames, joint width), the part of its logits that the audio
        gives: only with the labels before do they become logits, as ``decode`` has them.

        Runs on the model's device with whatever adapter is active and gradients as the caller set
        them. The lengths are returned on the CPU.
        """
        inputs = features.inputs.to(self.device, self.dtype, non_blocking=True)
        lengths = features.lengths.to(self.device, non_blocking=True)
        return self.forward(inputs, lengths), self.output_lengths(features.lengths)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the frames of ``logits``; nothing in here waits for the device.

        Args:
            inputs: of ``Features``, on the model's device and in its dtype.
            lengths: of ``Features``, on the model's device.
        """
        mask = torch.arange(inputs.shape[1], device=inputs.device)[None] < lengths[:, None]
        return self.decoder.frames(inputs, mask)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Return the logit frames of inputs with ``lengths`` valid frames or samples; (batch,)."""
        inner = getattr(self.model, "encoder", self.model)
        return self.family.output_lengths(inner, lengths)

    def prepare_text(self, text: str) -> str:
        """Return ``text`` in the base's own alphabet, as labels need it."""
        return self.alphabet.prepare(text)

    def unknown_characters(self, text: str) -> set[str]:
        """Return the letters, digits and symbols of ``text`` that the base cannot write."""
        return self.alphabet.unknown(text)

    def encode(self, text: str) -> list[int]:
        """Return the labels of ``text``, which is first brought into the base's alphabet."""
        return list(self.tokenizer(self.prepare_text(text), add_special_tokens=False).input_ids)

    def decode(self, logits: Tensor, lengths: Tensor) -> list[str]:
        """Return the greedy transcripts of what ``logits`` returned.

        Of a transducer, with whatever adapter is active: it must be the one that gave ``logits``.
        """
        return [self.write(labels) for labels in self.decoder.labels(logits, lengths)]

    def decode_path(self, path: list[int]) -> str:
        """Return the text of one CTC path."""
        return self.write(collapse(path, self.blank_id))

    def write(self, labels: list[int]) -> str:
        """Return the text of ``labels``, among which no blank is left."""
        # Repeats are merged already; merging again would take the double letters.
        text = self.tokenizer.decode(labels, skip_special_tokens=True, group_tokens=False)
        return " ".join(text.split())

    def _round_trip(self, character: str) -> str:
        if character.isspace():
            return ""
        ids = self.tokenizer(character, add_special_tokens=False).input_ids
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        if not ids or unknown in ids or self.blank_id in ids:
            return ""
        return self.write(list(ids))
