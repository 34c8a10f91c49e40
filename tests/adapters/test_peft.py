"""PEFT's methods: they compute what PEFT itself computes, and are missed in two lines."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from adapters.cases import disturb, logits, model_logits

from tpactl.adapters.attach import attach
from tpactl.adapters.settings import check
from tpactl.errors import MachineError, UsageError
from tpactl.formats.adapter import IA3Settings, LoRASettings
from tpactl.formats.run import RunConfig


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_it_computes_what_peft_computes_with_the_same_tensors(base, features, method):
    from peft import IA3Config, LoraConfig, inject_adapter_in_model
    from peft.utils import set_peft_model_state_dict

    model = copy.deepcopy(base.model)
    settings = None if method == "ia3" else LoRASettings(r=3, alpha=5.0)
    adapter = attach(base, method, settings, decoder="none")
    disturb(adapter)
    stored = adapter.config("x")
    if method == "ia3":
        config = IA3Config(
            target_modules=stored.target_modules, feedforward_modules=stored.feedforward_modules
        )
    else:
        config = LoraConfig(
            r=stored.r, lora_alpha=stored.lora_alpha, use_dora=stored.use_dora,
            target_modules=stored.target_modules,
        )  # fmt: skip
    inject_adapter_in_model(config, model)
    tensors = {
        name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector"): tensor
        for name, tensor in adapter.tensors().items()
    }
    result = set_peft_model_state_dict(model, tensors)
    assert result.unexpected_keys == []
    assert torch.equal(model_logits(model.eval(), features), logits(base, features))


def test_without_peft_the_methods_say_what_to_install(parakeet, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    for method in ("lora", "dora", "ia3"):
        with pytest.raises(
            MachineError, match=f"method {method} needs peft, which is not installed"
        ) as caught:
            attach(parakeet, method)
        with pytest.raises(MachineError, match="is not installed"):
            check(RunConfig(method=method))
        assert caught.value.fix == "pip install 'tpactl[peft]'"
        assert caught.value.exit_code == 6
    attach(parakeet, "bitfit")


def test_ia3_has_no_convolutions(parakeet):
    with pytest.raises(UsageError, match=r"ia3\.sites names conv\.in"):
        attach(parakeet, "ia3", IA3Settings(sites=["conv.in"]))


def test_what_starts_random_follows_from_the_seed_and_disturbs_no_other_draw(parakeet):
    state = torch.random.get_rng_state()
    first, again, other = (attach(parakeet, "lora", seed=seed).tensors() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    name = "encoder.layers.0.feed_forward1.linear1.lora_A.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
