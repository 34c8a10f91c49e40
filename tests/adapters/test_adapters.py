"""Every method on every family: a fresh one changes nothing, a trained one stores and merges."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from models import FAMILIES, tiny_base

from tpactl.adapters import store
from tpactl.adapters.attach import activate, attach
from tpactl.adapters.merge import merge
from tpactl.adapters.methods import METHODS, Method, load_methods, register
from tpactl.bases.load import load_base
from tpactl.errors import BaseError, IntegrityError, UsageError
from tpactl.formats.adapter import TPASettings

SHAPES = [
    TPASettings(bottleneck_dim=4),
    TPASettings(bottleneck_dim=4, input="residual", activation="relu", scale=4.0),
    TPASettings(bottleneck_dim=3, scale="learned", blocks="upper-half", dropout=0.2),
    TPASettings(bottleneck_dim=2, activation="gelu", blocks=[0, 2], initialisation="kaiming"),
]
CASES = [("tpa", shape) for shape in SHAPES] + [("head", TPASettings())]
rng = np.random.default_rng(1)


@pytest.fixture(scope="module", params=FAMILIES)
def base(request, tmp_path_factory):
    return load_base(str(tiny_base(tmp_path_factory.mktemp("base") / request.param, request.param)))


@pytest.fixture(autouse=True)
def _base_alone(base):
    activate(base, None)
    yield
    activate(base, None)


@pytest.fixture(scope="module")
def features(base):
    waves = [rng.normal(size=n).astype("float32") * 0.1 for n in (8_000, 8_000)]
    return base.features(waves)


def logits(base, features):
    with torch.inference_mode():
        return base.logits(features)[0].clone()


def disturb(adapter, seed=0):
    """Give the adapter other weights, as training would, and end its training."""
    adapter.eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def test_the_table_of_methods_is_whole():
    assert set(load_methods()) == {"tpa", "head"}
    with pytest.raises(ValueError, match="registered twice"):
        register(Method("another", "TPA", "", METHODS["tpa"].build))


@pytest.mark.parametrize(("method", "settings"), CASES)
def test_an_untrained_adapter_leaves_the_logits_bit_identical(base, features, method, settings):
    before = logits(base, features)
    attach(base, method, settings)
    assert torch.equal(logits(base, features), before)


@pytest.mark.parametrize(("method", "settings"), CASES)
def test_training_moves_the_logits_and_nothing_of_the_base(base, features, method, settings):
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    before = logits(base, features)
    adapter = attach(base, method, settings)
    adapter.train()
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.05)
    for _ in range(3):
        out, lengths = base.logits(features)
        loss = torch.nn.functional.ctc_loss(
            out.log_softmax(-1).transpose(0, 1), torch.tensor([[3, 4, 5]] * 2), lengths,
            torch.tensor([3, 3]), blank=base.blank_id,
        )  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    adapter.eval()
    assert not torch.equal(logits(base, features), before)
    activate(base, None)
    assert torch.equal(logits(base, features), before)
    after = base.model.state_dict()
    assert after.keys() == state.keys()
    assert all(torch.equal(after[name], state[name]) for name in state)
    assert not any(module.training for module in base.model.modules())


@pytest.mark.parametrize(("method", "settings"), CASES)
def test_saved_and_loaded_it_computes_the_same_bits(base, features, tmp_path, method, settings):
    adapter = attach(base, method, settings)
    disturb(adapter)
    expected = logits(base, features)
    store.save(adapter, tmp_path)
    loaded = store.load(base, tmp_path, name="again")
    activate(base, loaded)
    assert torch.equal(logits(base, features), expected)
    assert (
        loaded.num_parameters
        == adapter.num_parameters
        == sum(tensor.numel() for tensor in loaded.tensors().values())
    )


@pytest.mark.parametrize("settings", [SHAPES[0], SHAPES[2]])
def test_merged_into_wider_feed_forward_modules_it_computes_the_same(base, features, settings):
    adapter = attach(base, "tpa", settings)
    disturb(adapter)
    expected = logits(base, features)
    merged = merge(adapter)
    mask = torch.arange(features.inputs.shape[1])[None] < features.lengths[:, None]
    with torch.inference_mode():
        out = merged(features.inputs, attention_mask=mask).logits
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=0)
    wider = merged.get_submodule(base.blocks[-1].ffn1.path)
    assert sum(p.numel() for p in wider.parameters()) > sum(
        p.numel() for p in base.blocks[-1].ffn1.module.parameters()
    )


@pytest.mark.parametrize("settings", [SHAPES[1], SHAPES[3]])
def test_what_is_not_part_of_the_feed_forward_module_is_not_merged(base, settings):
    with pytest.raises(UsageError, match="cannot be merged"):
        merge(attach(base, "tpa", settings))


def test_several_adapters_take_turns_on_one_base(base, features):
    alone = logits(base, features)
    heard = []
    adapters = []
    for seed in (1, 2):
        adapters.append(attach(base, "tpa", SHAPES[0], name=str(seed), seed=seed))
        disturb(adapters[-1], seed)
        heard.append(logits(base, features))
    assert not torch.equal(heard[0], heard[1])
    activate(base, adapters[0])
    assert torch.equal(logits(base, features), heard[0])
    activate(base, None)
    assert torch.equal(logits(base, features), alone)
    assert [a.is_active for a in adapters] == [False, False]


def test_an_adapter_made_while_another_is_heard_has_a_head_of_its_own(base, features):
    alone = attach(base, "tpa", SHAPES[0], seed=2)
    disturb(alone, 2)
    expected = logits(base, features)
    activate(base, None)
    disturb(attach(base, "tpa", SHAPES[0], seed=1), 1)
    beside = attach(base, "tpa", SHAPES[0], seed=2)
    disturb(beside, 2)
    assert torch.equal(logits(base, features), expected)
    activate(base, alone)
    with torch.inference_mode():
        mask = torch.arange(features.inputs.shape[1])[None] < features.lengths[:, None]
        out = merge(beside)(features.inputs, attention_mask=mask).logits
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=0)


def test_blocks_are_counted_from_the_audio_and_checked(base):
    adapter = attach(base, "tpa", TPASettings(blocks="upper-half"))
    assert adapter.block_indices == [2]
    assert all(base.blocks[2].path in site.path for site, _ in adapter.sites())
    for blocks in ([], [3], [1, 1], [-1]):
        with pytest.raises(UsageError, match="blocks 0 to 2"):
            attach(base, "tpa", TPASettings(blocks=blocks))


def test_a_missing_added_misshapen_or_nan_tensor_is_refused_whole(base, tmp_path):
    from safetensors.torch import load_file, save_file

    adapter = attach(base, "tpa", SHAPES[0])
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
    store.save(attach(base, "tpa", SHAPES[0]), tmp_path / "adapter")
    family = base.family.name
    other = load_base(str(tiny_base(tmp_path / "other", family, seed=7)))
    with pytest.raises(BaseError, match="was trained on the base") as caught:
        store.load(other, tmp_path / "adapter")
    assert caught.value.exit_code == 4


def test_a_configuration_that_contradicts_itself_is_refused(base, tmp_path):
    store.save(attach(base, "tpa", SHAPES[0]), tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = config["target_modules"][:-1]
    path.write_text(json.dumps(config))
    with pytest.raises(IntegrityError, match="target_modules"):
        store.load(base, tmp_path)


def test_the_initialisation_sets_the_range_of_the_first_layer_and_is_stored(base, tmp_path):
    largest = {}
    for start in ("uniform", "kaiming"):
        adapter = attach(base, "tpa", TPASettings(bottleneck_dim=64, initialisation=start))
        down = torch.cat([bottleneck.down.weight for _, bottleneck in adapter.sites()])
        largest[start] = float(down.detach().abs().max()) * base.d_model**0.5
        store.save(adapter, tmp_path / start)
        assert store.load(base, tmp_path / start).settings.initialisation == start
    assert largest["uniform"] == pytest.approx(1, abs=0.01)
    assert largest["kaiming"] == pytest.approx(6**0.5, abs=0.01)


def test_an_adapter_of_an_earlier_version_without_an_initialisation_loads(base, tmp_path):
    store.save(attach(base, "tpa", SHAPES[0]), tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    del config["initialisation"]
    path.write_text(json.dumps(config))
    assert store.load(base, tmp_path).settings.initialisation == "uniform"


def test_an_unknown_method_names_the_known_ones(base):
    with pytest.raises(UsageError) as caught:
        attach(base, "lora-typo", TPASettings())
    assert "tpa, head, full" in caught.value.fix
