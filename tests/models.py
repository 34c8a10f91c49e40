"""Tiny random checkpoints of every model family, as ordinary model directories."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tpactl.bases.quiet import quiet

quiet()

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"
TRANSDUCERS = ("parakeet-rnnt", "parakeet-tdt")
CTC_FAMILIES = ("parakeet", "lasr", "wav2vec2-bert", "wav2vec2-conformer")
FAMILIES = (*CTC_FAMILIES, *TRANSDUCERS)
DURATIONS = (0, 1, 2, 3, 4)
"""Of the TDT."""
D_MODEL = 16
NUM_BLOCKS = 3

_SIZES = {"encoder_projector": 0.5, "decoder": 0.5, "joint": 0.5}
"""Of random numbers in a transducer's networks; small ones would hear one label for ever."""


def tiny_base(folder: Path, family: str = "parakeet", seed: int = 0) -> Path:
    """Write a random checkpoint of ``family`` into ``folder`` and return it."""
    torch.manual_seed(seed)
    model = _MODELS[family]()
    # Random numbers everywhere, so that no test passes because a bias or a running mean is zero.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * _SIZES.get(name.split(".")[0], 0.05))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    _write_tokenizer(folder, family)
    _write_feature_extractor(folder, family)
    return folder


def _parakeet_encoder():
    from transformers import ParakeetEncoderConfig

    return ParakeetEncoderConfig(
        hidden_size=D_MODEL,
        num_hidden_layers=NUM_BLOCKS,
        num_attention_heads=2,
        intermediate_size=32,
        conv_kernel_size=5,
        subsampling_factor=4,
        subsampling_conv_channels=8,
        num_mel_bins=80,
    )


def _parakeet():
    from transformers import ParakeetCTCConfig, ParakeetForCTC

    size = len(LETTERS) + 1
    return ParakeetForCTC(
        ParakeetCTCConfig(
            encoder_config=_parakeet_encoder(), vocab_size=size, pad_token_id=size - 1
        )
    )


def _parakeet_rnnt():
    from transformers import ParakeetForRNNT, ParakeetRNNTConfig

    return ParakeetForRNNT(ParakeetRNNTConfig(**_transducer()))


def _parakeet_tdt():
    from transformers import ParakeetForTDT, ParakeetTDTConfig

    return ParakeetForTDT(ParakeetTDTConfig(durations=list(DURATIONS), **_transducer()))


def _transducer():
    return {
        "encoder_config": _parakeet_encoder(),
        "vocab_size": len(LETTERS) + 2,
        "decoder_hidden_size": 12,
        "num_decoder_layers": 2,
        "max_symbols_per_step": 3,
        "pad_token_id": len(LETTERS),
        "blank_token_id": len(LETTERS) + 1,
    }


def _lasr():
    from transformers import LasrCTCConfig, LasrEncoderConfig, LasrForCTC

    encoder = LasrEncoderConfig(
        hidden_size=D_MODEL,
        num_hidden_layers=NUM_BLOCKS,
        num_attention_heads=2,
        intermediate_size=32,
        conv_kernel_size=4,
        subsampling_conv_channels=8,
        num_mel_bins=128,
    )
    size = len(LETTERS) + 1
    return LasrForCTC(LasrCTCConfig(encoder_config=encoder, vocab_size=size, pad_token_id=size - 1))


def _wav2vec2_bert():
    from transformers import Wav2Vec2BertConfig, Wav2Vec2BertForCTC

    return Wav2Vec2BertForCTC(
        Wav2Vec2BertConfig(
            hidden_size=D_MODEL,
            num_hidden_layers=NUM_BLOCKS,
            num_attention_heads=2,
            intermediate_size=32,
            feature_projection_input_dim=160,
            conv_depthwise_kernel_size=5,
            vocab_size=len(LETTERS) + 2,
            pad_token_id=0,
            mask_time_prob=0.0,
        )
    )


def _wav2vec2_conformer():
    from transformers import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForCTC

    return Wav2Vec2ConformerForCTC(
        Wav2Vec2ConformerConfig(
            hidden_size=D_MODEL,
            num_hidden_layers=NUM_BLOCKS,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(8, 8, 8, 8, 8, 8, 8),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            conv_depthwise_kernel_size=5,
            feat_extract_norm="layer",
            position_embeddings_type="relative",
            vocab_size=len(LETTERS) + 2,
            pad_token_id=0,
            mask_time_prob=0.0,
        )
    )


_MODELS = {
    "parakeet": _parakeet,
    "parakeet-rnnt": _parakeet_rnnt,
    "parakeet-tdt": _parakeet_tdt,
    "lasr": _lasr,
    "wav2vec2-bert": _wav2vec2_bert,
    "wav2vec2-conformer": _wav2vec2_conformer,
}


def _write_tokenizer(folder: Path, family: str) -> None:
    if family.startswith("wav2vec2"):
        from transformers import Wav2Vec2CTCTokenizer

        tokens = ["<pad>", "|", *LETTERS[1:], "<unk>"]
        vocabulary = folder / "vocab.json"
        vocabulary.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        Wav2Vec2CTCTokenizer(
            str(vocabulary), pad_token="<pad>", unk_token="<unk>", word_delimiter_token="|",
            bos_token=None, eos_token=None,
        ).save_pretrained(folder)  # fmt: skip
        return
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import ParakeetTokenizer

    vocabulary = {letter: index for index, letter in enumerate(LETTERS)}
    if family in TRANSDUCERS:
        vocabulary["<pad>"] = len(LETTERS)
    vocabulary["<blank>"] = len(vocabulary)
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<blank>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    pad = "<pad>" if family in TRANSDUCERS else "<blank>"
    ParakeetTokenizer(tokenizer_object=backend, pad_token=pad).save_pretrained(folder)


def _write_feature_extractor(folder: Path, family: str) -> None:
    import transformers

    extractor = {
        "parakeet": lambda: transformers.ParakeetFeatureExtractor(),
        "parakeet-rnnt": lambda: transformers.ParakeetFeatureExtractor(),
        "parakeet-tdt": lambda: transformers.ParakeetFeatureExtractor(),
        "lasr": lambda: transformers.LasrFeatureExtractor(),
        "wav2vec2-bert": lambda: transformers.SeamlessM4TFeatureExtractor(),
        "wav2vec2-conformer": lambda: transformers.Wav2Vec2FeatureExtractor(
            return_attention_mask=True
        ),
    }[family]()
    extractor.save_pretrained(folder)
