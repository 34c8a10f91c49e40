"""Every family: loaded from a directory, blocks found, padding and company without effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import D_MODEL, FAMILIES, NUM_BLOCKS, tiny_base

from tpactl.bases.blocks import LAYERS
from tpactl.bases.load import load_base
from tpactl.bases.recognise import plan_batches
from tpactl.errors import BaseError

rng = np.random.default_rng(0)
WAVES = [rng.normal(size=n).astype("float32") * 0.1 for n in (16_000, 9_000, 23_000, 100)]


@pytest.fixture(scope="module", params=FAMILIES)
def base(request, tmp_path_factory):
    return load_base(str(tiny_base(tmp_path_factory.mktemp("base") / request.param, request.param)))


def test_every_block_is_found_from_the_audio_upwards(base):
    assert len(base.blocks) == NUM_BLOCKS
    assert [block.path.rsplit(".", 1)[1] for block in base.blocks] == ["0", "1", "2"]
    for block in base.blocks:
        assert base.model.get_submodule(block.ffn1.path) is block.ffn1.module
        assert base.model.get_submodule(block.ffn2.path) is block.ffn2.module
        assert block.ffn1.module is not block.ffn2.module
        for name in ("ffn1", "attention", "conv", "ffn2", "block"):
            site = block.site(name)
            assert base.model.get_submodule(site.path) is site.module
            assert isinstance(site.norm, torch.nn.LayerNorm)
        assert tuple(block.layers) == LAYERS
        for layer in block.layers.values():
            assert base.model.get_submodule(layer.path) is layer.module
        paths = {layer.path for layer in block.layers.values()}
        assert len(paths) == len(LAYERS) == 10
    assert base.d_model == D_MODEL


def test_a_base_is_frozen_and_in_eval(base):
    assert not any(p.requires_grad for p in base.model.parameters())
    assert not any(module.training for module in base.model.modules())


@torch.inference_mode()
def test_neither_padding_nor_company_changes_an_utterance(base):
    if base.family.padding_leaks:
        pytest.skip("its convolutions take no mask: recognition batches one length only (below)")
    together, lengths = base.logits(base.features(WAVES))
    for index, wave in enumerate(WAVES):
        alone, length = base.logits(base.features([wave]))
        assert length[0] == lengths[index] > 0
        torch.testing.assert_close(
            alone[0, : length[0]], together[index, : length[0]], atol=1e-5, rtol=0
        )


def test_families_whose_padding_leaks_get_batches_of_one_length():
    assert plan_batches([1.0, 2.0, 1.0, 2.0], 100, one_length=True) == [[1, 3], [0, 2]]


def test_batches_hold_every_utterance_once_and_keep_to_their_seconds():
    durations = [float(d) for d in rng.uniform(0.5, 20, 200)]
    batches = plan_batches(durations, 60)
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(durations[i] for i in batch) <= 60


def test_text_is_brought_into_the_alphabet_and_back(base):
    assert base.prepare_text("Don’t  STOP, now!") == "don't stop now"
    assert base.unknown_characters("room 42, é") == {"4", "2", "é"}
    labels = base.encode("will  Stop")
    assert base.write(labels) == "will stop"


def test_a_model_without_such_blocks_is_named_with_what_was_looked_for(tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    folder = tiny_base(tmp_path / "donor", "wav2vec2-conformer")
    Wav2Vec2ForCTC(
        Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            conv_dim=(8, 8), conv_kernel=(10, 3), conv_stride=(5, 2), vocab_size=30,
            num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )
    ).save_pretrained(folder)  # fmt: skip
    with pytest.raises(BaseError, match=r"looked for: lasr .*parakeet .*wav2vec2-bert") as caught:
        load_base(str(folder))
    assert caught.value.exit_code == 4


def test_an_encoder_without_a_trained_head_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_base(tmp_path / "base")
    tensors = load_file(folder / "model.safetensors")
    del tensors["ctc_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseError, match="do not belong together") as caught:
        load_base(str(folder))
    assert "ctc_head.weight" in "".join(caught.value.details)


@pytest.mark.parametrize("ref", ["no-such-thing", "./no/such/dir", ""])
def test_an_unknown_reference_is_an_error_with_a_fix(ref):
    with pytest.raises(BaseError, match="no base called"):
        load_base(ref)
