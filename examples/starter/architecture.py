"""What the starter base is: its characters, its shape, its tokenizer and its feature extractor.

Every other step of the recipe imports from here, so that training, export and measurement cannot
disagree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from torch import nn

try:
    from tpactl.bases.quiet import quiet
except ImportError:  # the recipe trains where tpactl is not installed
    pass
else:
    quiet()  # a torchaudio that does not load would stop the import of transformers' speech models

from transformers import (
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetProcessor,
    ParakeetTokenizer,
)

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
BLANK_ID = len(CHARACTERS)
"""CTC blank; transformers takes the padding token for it."""

SAMPLE_RATE = 16_000  # Hz
HOP_LENGTH = 160  # samples, 10 ms
FINE_TUNING_DROPOUT = 0.1  # written into the configuration, for who fine-tunes the base
SUBSAMPLING = 4  # feature frames per encoder frame


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; the defaults are the released starter base."""

    d_model: int = 224
    num_blocks: int = 8
    num_heads: int = 4
    feed_forward_dim: int = 576
    conv_kernel_size: int = 15
    subsampling_channels: int = 64


TINY_SHAPE = Shape(
    d_model=32, num_blocks=2, num_heads=2, feed_forward_dim=48, subsampling_channels=8
)
"""For a trial run of the recipe on a CPU."""


def normalise_text(text: str) -> str:
    """Return ``text`` in the model's characters: lower case, others dropped, spaces collapsed."""
    kept = "".join(character for character in text.lower() if character in CHARACTERS)
    return " ".join(kept.split())


def build_config(shape: Shape, dropout: float = 0.1) -> ParakeetCTCConfig:
    """Return the transformers configuration for ``shape``."""
    encoder = ParakeetEncoderConfig(
        hidden_size=shape.d_model,
        num_hidden_layers=shape.num_blocks,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.feed_forward_dim,
        conv_kernel_size=shape.conv_kernel_size,
        subsampling_factor=SUBSAMPLING,
        subsampling_conv_channels=shape.subsampling_channels,
        num_mel_bins=80,
        dropout=dropout,
        activation_dropout=dropout,
        attention_dropout=dropout,
        layerdrop=0.0,
        scale_input=False,
    )
    return ParakeetCTCConfig(
        encoder_config=encoder,
        vocab_size=len(CHARACTERS) + 1,
        pad_token_id=BLANK_ID,
        architectures=["ParakeetForCTC"],
    )


def build_model(shape: Shape, dropout: float = 0.1) -> ParakeetForCTC:
    """Return an untrained model.

    PyTorch's default initialisation of linear and convolution layers replaces transformers'
    normal(0, 0.02): it left the plateau of blanks within 200 steps in the prototype, and no other
    was tried.
    """
    model = ParakeetForCTC(build_config(shape, dropout))
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            module.reset_parameters()
    return model


def build_processor() -> ParakeetProcessor:
    """Return feature extractor and character tokenizer, as ``AutoProcessor`` will load them.

    The tokenizer lower-cases and drops what is not in ``CHARACTERS``; decoding merges repeats and
    removes blanks.
    """
    vocabulary = {character: index for index, character in enumerate(CHARACTERS)}
    vocabulary["<pad>"] = BLANK_ID
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.decoder = decoders.Fuse()
    return ParakeetProcessor(
        feature_extractor=ParakeetFeatureExtractor(
            feature_size=80, sampling_rate=SAMPLE_RATE, hop_length=HOP_LENGTH
        ),
        tokenizer=ParakeetTokenizer(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            clean_up_tokenization_spaces=False,
            model_max_length=1_000_000,
        ),
    )


def write_weights(model: ParakeetForCTC, directory: Path) -> None:
    """Write ``model``'s weights in half precision, and its configuration.

    The caller's model is not changed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stored = ParakeetForCTC(model.config)
    stored.load_state_dict(model.state_dict())
    stored.half().save_pretrained(directory)
    config_path = directory / "config.json"
    config = json.loads(config_path.read_text())
    # Halves are for storage: what is loaded computes in single precision.
    config["dtype"] = "float32"
    config["encoder_config"]["dtype"] = "float32"
    for rate in ("dropout", "activation_dropout", "attention_dropout"):
        config["encoder_config"][rate] = FINE_TUNING_DROPOUT
    config_path.write_text(json.dumps(config, indent=2) + "\n")
    for path in directory.iterdir():
        path.chmod(0o644)


def write_model_directory(model: ParakeetForCTC, directory: Path) -> int:
    """Write weights, configuration, tokenizer and feature extractor; return the bytes written."""
    write_weights(model, directory)
    processor = build_processor()
    processor.save_pretrained(directory)
    processor.feature_extractor.save_pretrained(directory)
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())


def greedy_text(logits: torch.Tensor, num_frames: int) -> str:
    """Return the greedy CTC reading of one utterance: (frames, characters + blank) -> text."""
    ids = torch.unique_consecutive(logits[:num_frames].argmax(-1)).tolist()
    return "".join(CHARACTERS[index] for index in ids if index != BLANK_ID)
