"""Stored adapters load whole, on their base, as what they are, or not at all."""

from __future__ import annotations

import json

import pytest
import torch
from adapters.cases import disturb, tpa
from models import tiny_base

from tpactl.adapters import store
from tpactl.adapters.attach import attach
from tpactl.bases.load import load_base
from tpactl.errors import BaseError, InputError, IntegrityError
from tpactl.formats.adapter import LoRASettings


def change(folder, **keys):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    for key, value in keys.items():
        if value is ...:
            del config[key]
        else:
            config[key] = value
    path.write_text(json.dumps(config))


def test_a_missing_added_misshapen_or_nan_tensor_is_refused_whole(base, tmp_path):
    from safetensors.torch import load_file, save_file

    adapter = attach(base, "tpa", tpa())
    disturb(adapter)
    store.save(adapter, tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    whole = load_file(path)
    name = next(iter(whole))
    broken = {
        "missing": {k: v for k, v in whole.items() if k != name},
        "not of this adapter": whole | {"extra.weight": torch.zeros(1)},
        "shape": whole | {name: torch.zeros(1, 1)},
        "NaN": whole | {name: torch.full_like(whole[name], float("nan"))},
    }
    for reason, tensors in broken.items():
        save_file(tensors, path)
        with pytest.raises(IntegrityError) as caught:
            store.load(base, tmp_path)
        assert reason in "".join(caught.value.details)


def test_on_another_base_it_is_refused(base, tmp_path):
    store.save(attach(base, "tpa", tpa()), tmp_path / "adapter")
    other = load_base(str(tiny_base(tmp_path / "other", base.family.name, seed=7)))
    with pytest.raises(BaseError, match="was trained on the base") as caught:
        store.load(other, tmp_path / "adapter")
    assert caught.value.exit_code == 4


def test_an_adapter_of_the_first_version_loads(parakeet, tmp_path):
    store.save(attach(parakeet, "tpa", tpa()), tmp_path)
    change(tmp_path, form=..., sites=..., initialisation=...)
    shape = store.load(parakeet, tmp_path).settings
    assert (shape.form, shape.sites, shape.initialisation) == (
        "parallel",
        ("ffn1", "ffn2"),
        "uniform",
    )


def test_the_configuration_has_pefts_own_key_names(parakeet, tmp_path):
    from peft import LoraConfig

    settings = LoRASettings(r=3, alpha=5.0, dropout=0.1, sites=["attention.q"], blocks=[1])
    store.save(attach(parakeet, "lora", settings), tmp_path)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    keys = ("peft_type", "r", "lora_alpha", "lora_dropout", "use_dora", "target_modules")
    assert {key: stored[key] for key in keys} == {
        "peft_type": "LORA",
        "r": 3,
        "lora_alpha": 5.0,
        "lora_dropout": 0.1,
        "use_dora": False,
        "target_modules": ["encoder.layers.1.self_attn.q_proj"],
    }
    assert stored["modules_to_save"] == ["ctc_head"]
    assert set(keys) <= set(LoraConfig().to_dict())
    store.save(attach(parakeet, "ia3"), tmp_path)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    assert set(stored["feedforward_modules"]) < set(stored["target_modules"])
    assert all("linear2" in path for path in stored["feedforward_modules"])


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"target_modules": []}, "target_modules"),
        ({"num_parameters": 3}, "num_parameters"),
        ({"blocks": [9]}, "blocks 0 to 2"),
        ({"modules_to_save": ["ctc_haed"]}, "nearest are ctc_head"),
        ({"modules_to_save": ["encoder"]}, "holds the site"),
        ({"bottleneck_dim": None}, "without bottleneck_dim"),
        ({"bottleneck_dim": 0}, "Expected `int` >= 1"),
        ({"adapter_dropout": 1.0}, "Expected `float` < 1"),
        ({"sites": ["ffn3"]}, "Invalid enum value 'ffn3'"),
        ({"form": "sideways"}, "Invalid enum value 'sideways'"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(parakeet, tmp_path, keys, said):
    store.save(attach(parakeet, "tpa", tpa()), tmp_path)
    change(tmp_path, **keys)
    with pytest.raises(IntegrityError, match=said):
        store.load(parakeet, tmp_path)


def test_a_type_that_tpactl_does_not_know_is_named(parakeet, tmp_path):
    store.save(attach(parakeet, "tpa", tpa()), tmp_path)
    change(tmp_path, peft_type="LORA")
    with pytest.raises(InputError, match="peft_type is 'LORA', unknown"):
        store.load(parakeet, tmp_path)
