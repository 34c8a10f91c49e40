"""The identity changes with what is computed, and with nothing else."""

from __future__ import annotations

import json

import pytest
from models import tiny_base

from tpactl.bases.identity import fingerprint
from tpactl.errors import BaseError, IntegrityError
from tpactl.formats.identity import differences


@pytest.fixture
def folder(tmp_path):
    return tiny_base(tmp_path / "base")


def test_sharding_and_pickling_the_same_weights_change_nothing(folder, tmp_path):
    import torch
    from transformers import AutoModelForCTC

    before = fingerprint(folder)
    model = AutoModelForCTC.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert fingerprint(folder) == before
    for shard in folder.glob("model*.safetensors*"):
        shard.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert fingerprint(folder).digest == before.digest


def test_one_changed_bit_of_a_weight_changes_that_tensors_leaf_alone(folder):
    before = fingerprint(folder)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    after = fingerprint(folder)
    changed = [name for name in before.tensors if before.tensors[name] != after.tensors[name]]
    assert len(changed) == 1
    assert differences(before, after) == [
        f"weights: 1 of {len(before.tensors)} tensors differ: {changed[0]}"
    ]


@pytest.mark.parametrize(
    ("file", "key", "part"),
    [
        ("config.json", "pad_token_id", "config"),
        ("preprocessor_config.json", "hop_length", "feature_extractor"),
        ("tokenizer_config.json", "pad_token", "tokenizer"),
    ],
)
def test_configuration_tokenizer_and_feature_extractor_count(folder, file, key, part):
    before = fingerprint(folder)
    value = json.loads((folder / file).read_text())
    value[key] = "changed"
    (folder / file).write_text(json.dumps(value))
    after = fingerprint(folder)
    assert getattr(after, part) != getattr(before, part)
    assert after.digest != before.digest
    assert len(differences(before, after)) == 1


def test_formatting_and_library_versions_do_not_count(folder):
    before = fingerprint(folder)
    path = folder / "config.json"
    value = json.loads(path.read_text())
    value["transformers_version"] = "99"
    path.write_text(json.dumps(dict(reversed(value.items()))))
    assert fingerprint(folder) == before


def test_truncated_weights_are_an_integrity_error(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        fingerprint(folder)


def test_a_folder_without_a_model_is_a_base_error(tmp_path):
    with pytest.raises(BaseError, match=r"config\.json"):
        fingerprint(tmp_path)
