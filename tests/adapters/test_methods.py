"""Every method on every family: a fresh one changes nothing, a trained one stores and merges."""

from __future__ import annotations

import copy
import importlib

import numpy as np
import pytest
import torch
from adapters.cases import CASES, Case, disturb, logits, loss_of, model_logits, steps
from models import FAMILIES

from tpactl.adapters import store
from tpactl.adapters.attach import activate, attach
from tpactl.adapters.merge import merge
from tpactl.adapters.methods import METHODS, Method, register
from tpactl.bases.load import load_base
from tpactl.errors import UsageError

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def put(base, case: Case, **more):
    return attach(base, case.method, case.settings, decoder=case.decoder, **more)


def test_the_tables_are_whole():
    named = ["tpa", "houlsby", "pfeiffer", "parallel", "lora", "dora", "ia3", "bitfit", "head"]
    assert list(METHODS) == named
    assert {case.method for case in CASES} == set(named)
    assert len(FAMILIES) == 6
    for method in METHODS.values():
        assert callable(importlib.import_module(method.module).build)


@pytest.mark.parametrize(
    ("name", "peft_type", "marks", "said"),
    [
        ("tpa", "OTHER", {}, "'tpa' is registered twice"),
        ("full", "OTHER", {}, "'full' is registered twice"),
        ("other", "TPA", {}, "'TPA' is registered twice"),
        ("other", "LORA", {"use_dora": True}, "'LORA' is registered twice"),
    ],
)
def test_a_method_that_clashes_is_refused_when_it_is_registered(name, peft_type, marks, said):
    with pytest.raises(ValueError, match=said):
        register(Method(name, peft_type, "", "", "tpactl.adapters.head", marks=marks))
    assert "other" not in METHODS


@every_case
def test_an_untrained_adapter_leaves_the_logits_bit_identical_where_it_is_said_to(
    base, features, case
):
    before = logits(base, features)
    put(base, case)
    assert torch.equal(logits(base, features), before) == case.silent


@every_case
def test_training_moves_the_logits_and_nothing_of_the_base(base, features, case):
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    before = logits(base, features)
    adapter = put(base, case)
    during = base.model.state_dict()
    assert list(during) == list(state)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.05)
    steps(base, features, adapter, optimiser, 3, seed=0)
    assert not torch.equal(logits(base, features), before)
    activate(base, None)
    assert torch.equal(logits(base, features), before)
    after = base.model.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(after[name], state[name]) for name in state)
    assert all(after[name].data_ptr() == during[name].data_ptr() for name in state)
    assert not any(module.training for module in base.model.modules())
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


@every_case
def test_every_trained_tensor_is_stored_learns_and_is_counted(base, features, case):
    adapter = put(base, case)
    disturb(adapter)
    loss_of(base, features).backward()
    stored = dict(adapter.named_tensors())
    parameters = list(adapter.parameters())
    assert {id(tensor) for tensor in stored.values()} == {id(p) for p in parameters}
    assert len(stored) == len(parameters) > 0
    assert [name for name, tensor in stored.items() if tensor.grad is None] == []
    assert all(tensor.dtype == torch.float32 for tensor in stored.values())
    assert adapter.num_parameters == sum(tensor.numel() for tensor in stored.values())


@every_case
def test_saved_and_loaded_it_computes_the_same_bits(base, features, tmp_path, case):
    adapter = put(base, case)
    disturb(adapter)
    expected = logits(base, features)
    store.save(adapter, tmp_path)
    activate(base, None)
    alone = logits(base, features)
    loaded = store.load(base, tmp_path, name="again")
    assert torch.equal(logits(base, features), alone)
    activate(base, loaded)
    assert torch.equal(logits(base, features), expected)
    assert not torch.equal(expected, alone)
    assert loaded.method is adapter.method
    assert loaded.settings is None or loaded.settings.blocks == loaded.block_indices
    assert loaded.tensors().keys() == adapter.tensors().keys()
    assert loaded.num_parameters == adapter.num_parameters
    assert loaded.config("x") == adapter.config("x")


@every_case
def test_it_resumes_from_its_tensors_and_the_optimisers_state(base, features, case):
    def fresh():
        adapter = put(base, case)
        return adapter, torch.optim.AdamW(adapter.parameters(), lr=0.01)

    adapter, optimiser = fresh()
    steps(base, features, adapter, optimiser, 2, seed=1)
    tensors, state = adapter.tensors(), copy.deepcopy(optimiser.state_dict())
    again, second = fresh()
    again.load_tensors(tensors)
    second.load_state_dict(state)
    steps(base, features, again, second, 2, seed=2)
    activate(base, adapter)
    steps(base, features, adapter, optimiser, 2, seed=2)
    for name, tensor in adapter.tensors().items():
        assert torch.equal(tensor, again.tensors()[name]), name


@every_case
def test_merged_it_computes_the_same_or_says_why_it_cannot_be_merged(base, features, case):
    adapter = put(base, case)
    disturb(adapter)
    expected = logits(base, features)
    if not case.mergeable:
        with pytest.raises(UsageError, match="cannot be merged"):
            merge(adapter)
        return
    merged = merge(adapter)
    torch.testing.assert_close(model_logits(merged, features), expected, atol=5e-5, rtol=1e-4)
    # Only parallel adapters make a model larger; all others keep every shape.
    shapes = {name: t.shape for name, t in merged.state_dict().items()}
    same = shapes == {name: t.shape for name, t in base.model.state_dict().items()}
    assert same == (case.method not in ("tpa", "parallel"))
    assert adapter.is_active
    assert torch.equal(logits(base, features), expected)


@every_case
def test_several_adapters_of_all_methods_take_turns_on_one_base(base, features, case):
    alone = logits(base, features)
    other = attach(base, "tpa", name="other")
    disturb(other, 1)
    heard_other = logits(base, features)
    adapter = put(base, case)
    disturb(adapter, 2)
    heard = logits(base, features)
    assert not torch.equal(heard, heard_other)
    for _ in range(2):
        activate(base, other)
        assert torch.equal(logits(base, features), heard_other)
        activate(base, adapter)
        assert torch.equal(logits(base, features), heard)
    activate(base, None)
    assert torch.equal(logits(base, features), alone)
    assert base.active_adapter is None


@every_case
def test_on_a_base_in_bf16_the_trained_tensors_stay_fp32(folders, bases, case):
    if case.method == "dora" and any("conv" in site for site in case.settings.sites):
        pytest.skip("PEFT's DoRA computes convolutions in the dtype of the base only")
    base = load_base(str(folders["parakeet"]), dtype=torch.bfloat16)
    wave = np.random.default_rng(1).normal(size=8_000).astype("float32") * 0.1
    features = base.features([wave])
    exact = put(bases["parakeet"], case)
    disturb(exact)
    expected = logits(bases["parakeet"], features)
    activate(bases["parakeet"], None)
    adapter = put(base, case)
    disturb(adapter)
    loss_of(base, features).backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in adapter.parameters())
    out = logits(base, features).float()
    assert float((out - expected).norm() / expected.norm()) < 0.1
