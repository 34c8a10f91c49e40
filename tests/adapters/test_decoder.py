"""What of the decoder is trained: nothing, the head, or named modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adapters.cases import disturb, logits, loss_of, tpa
from models import TRANSDUCERS

from tpactl.adapters import store
from tpactl.adapters.attach import activate, attach
from tpactl.bases.load import load_base
from tpactl.errors import UsageError
from tpactl.formats.adapter import BitFitSettings


def test_without_a_decoder_only_the_adapter_is_trained(base, features):
    adapter = attach(base, "tpa", tpa(), decoder="none")
    assert adapter.head_parameters == 0
    assert adapter.head is base.head
    assert adapter.num_parameters == adapter.adapter_parameters > 0
    assert adapter.config("x").modules_to_save == []


def test_named_modules_are_trained_whole_stored_and_heard(base, features, tmp_path):
    norm = f"{base.blocks[2].path}.{base.family.final_norm}"
    attention = base.blocks[2].attention.path
    adapter = attach(base, "head", decoder=["head", norm, attention])
    assert adapter.config("x").modules_to_save == [base.head_path, norm, attention]
    before = logits(base, features)
    disturb(adapter)
    heard = logits(base, features)
    assert not torch.equal(heard, before)
    store.save(adapter, tmp_path)
    activate(base, None)
    assert torch.equal(logits(base, features), before)
    activate(base, store.load(base, tmp_path))
    assert torch.equal(logits(base, features), heard)


def test_a_named_module_is_heard_through_its_own_tensors_alone(parakeet, features):
    path = f"{parakeet.blocks[1].path}.norm_out"
    adapter = attach(parakeet, "tpa", tpa(), decoder=[path])
    assert adapter.head is parakeet.head
    before = logits(parakeet, features)
    with torch.no_grad():
        dict(adapter.named_tensors())[f"{path}.bias"].add_(1.0)
    assert not torch.equal(logits(parakeet, features), before)


@pytest.mark.parametrize("family", TRANSDUCERS)
@pytest.mark.parametrize(
    "decoder",
    [["decoder", "head"], ["joint"], ["encoder_projector"], ["decoder.embedding", "decoder.lstm"]],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_networks_of_a_transducer_are_trained_whole(folders, family, decoder, dtype, tmp_path):
    base = load_base(str(folders[family]), dtype=dtype)
    features = base.features([np.random.default_rng(1).normal(0, 0.1, 8_000).astype(np.float32)])
    before = logits(base, features)
    adapter = attach(base, "tpa", tpa(), decoder=decoder)
    if dtype == torch.float32:
        torch.testing.assert_close(logits(base, features), before, atol=1e-6, rtol=0)
    adapter.train()
    loss_of(base, features).backward()
    assert all(p.grad is not None and p.grad.any() for p in adapter.decoder.parameters())
    disturb(adapter)
    heard = logits(base, features)
    assert not torch.equal(heard, before)
    store.save(adapter, tmp_path)
    activate(base, None)
    assert torch.equal(logits(base, features), before)
    activate(base, store.load(base, tmp_path))
    assert torch.equal(logits(base, features), heard)


def test_its_batch_norm_never_leaves_eval(parakeet, features):
    adapter = attach(parakeet, "head", decoder=[parakeet.blocks[0].conv.path])
    adapter.train()
    running = parakeet.model.state_dict()[f"{parakeet.blocks[0].conv.path}.norm.running_mean"]
    before = running.clone()
    own = adapter.decoder[0].own.norm.running_mean.clone()
    logits(parakeet, features)
    assert torch.equal(running, before)
    assert torch.equal(adapter.decoder[0].own.norm.running_mean, own)


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        (["ctc_haed"], r"no module 'ctc_haed'; the nearest are ctc_head"),
        (
            ["encoder.layers.2.feedforward1"],
            r"no module 'encoder.layers.2.feedforward1'; the nearest are "
            r"encoder.layers.2.feed_forward\d, .*, ",
        ),
        (["ctc_head", "head"], "ctc_head is named twice"),
        (["encoder.layers"], "encoder.layers is a list of modules"),
        (["encoder.layers.0.feed_forward1.activation"], "has nothing to train"),
        (["encoder.layers.0", "encoder.layers.0.conv"], "conv lies in encoder.layers.0"),
        (["encoder.layers.1"], "encoder.layers.1 is trained whole and holds the site"),
    ],
)
def test_what_cannot_be_trained_so_is_refused_with_the_nearest_paths(parakeet, decoder, said):
    with pytest.raises(UsageError, match=said):
        attach(parakeet, "tpa", tpa(), decoder=decoder)
    assert parakeet.active_adapter is None


def test_a_module_that_the_base_owns_but_never_computes_is_refused(bases):
    unused = "wav2vec2_conformer.encoder.pos_conv_embed"
    with pytest.raises(UsageError, match=f"never computes {unused}, so"):
        attach(bases["wav2vec2-conformer"], "tpa", tpa(), decoder=["head", unused])
    for base in bases.values():
        norm = f"{base.blocks[0].path}.{base.family.final_norm}"
        attach(base, "tpa", tpa(), decoder=[norm]).deactivate()


def test_nothing_to_train_is_refused(parakeet):
    with pytest.raises(UsageError, match="trains nothing"):
        attach(parakeet, "head", decoder="none")


def test_biases_of_a_module_that_is_trained_whole_are_not_trained_twice(parakeet):
    path = f"{parakeet.blocks[2].path}.norm_out"
    alone = attach(parakeet, "bitfit", BitFitSettings(blocks=[2], front=False), decoder="none")
    beside = attach(parakeet, "bitfit", BitFitSettings(blocks=[2], front=False), decoder=[path])
    assert f"{path}.bias" in alone.tensors()
    names = [name for name, _ in beside.named_tensors()]
    assert len(names) == len(set(names))
    assert [part.path for part in beside.parts if part.path == path] == []
    assert {f"{path}.bias", f"{path}.weight"} <= set(names)
