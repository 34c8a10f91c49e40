import numpy as np
import pytest
import torch

from tests.models import FAMILIES, tiny_base
from tpactl.adapters.attach import activate, attach
from tpactl.adapters.prefix import lowest_block
from tpactl.adapters.together import Together
from tpactl.bases.load import load_base
from tpactl.bases.recognise import recognise_features
from tpactl.eval import turns as turns_file
from tpactl.eval.departments import Departments
from tpactl.eval.turns import Turns
from tpactl.formats.adapter import BitFitSettings, LoRASettings, TPASettings


def loud(adapter, seed: int):
    """Let a fresh adapter change what is heard."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in adapter.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return adapter.eval().requires_grad_(False)


def systems(base) -> dict:
    last = len(base.blocks) - 1
    made = {
        "all": attach(base, "tpa", TPASettings(bottleneck_dim=4), name="all"),
        "last": attach(base, "tpa", TPASettings(bottleneck_dim=4, blocks=[last]), name="last"),
        "bitfit": attach(base, "bitfit", BitFitSettings(blocks=[last]), name="bitfit"),
        "head": attach(base, "head", name="head"),
    }
    for seed, adapter in enumerate(made.values()):
        loud(adapter, seed)
    activate(base, None)
    return {"base": None, **made}


def batch(base, count: int = 3):
    noise = np.random.default_rng(0).normal(0, 0.1, (count, 16_000)).astype(np.float32)
    lengths = [16_000] * count if base.family.padding_leaks else [16_000, 9_000, 12_000]
    return base.features([wave[:n] for wave, n in zip(noise, lengths, strict=False)])


@pytest.fixture(scope="module", params=FAMILIES)
def base(request, tmp_path_factory):
    return load_base(str(tiny_base(tmp_path_factory.mktemp(request.param), request.param)))


def test_every_system_hears_what_it_hears_alone(base):
    each = systems(base)
    turns = Turns(base, each)
    # They go the short way, or nothing is proved here. BitFit changes what stands before the blocks
    # too, which the proof must find out.
    assert set(turns._cuts) == {"all", "last", "head"}
    features = batch(base)
    heard = turns.take(features)
    for name, adapter in each.items():
        activate(base, adapter)
        assert heard[name].texts == recognise_features(base, features)
    activate(base, None)


def test_the_logits_are_those_of_the_whole_way(base):
    each = systems(base)
    turns = Turns(base, each)
    features = batch(base)
    kept = turns_file._Kept()
    with torch.inference_mode():
        turns._logits(None, features, kept)
        for adapter in list(each.values())[1:]:
            short, lengths = turns._logits(adapter, features, kept)
            activate(base, adapter)
            whole, _ = base.logits(features)
            assert not torch.allclose(whole[0, :2], base.logits(batch(base, 1))[0][0, :2] * 0)
            for a, b, n in zip(short, whole, lengths.tolist(), strict=True):
                assert torch.allclose(a[:n], b[:n], atol=1e-5)
    activate(base, None)


def test_blocks_below_the_lowest_changed_one_run_once(base):
    each = systems(base)
    turns = Turns(base, each)
    calls = dict.fromkeys(range(len(base.blocks)), 0)

    def note(index):
        def hook(module, args, out):
            calls[index] += 1

        return hook

    hooks = [
        block.ffn1.module.register_forward_hook(note(index))
        for index, block in enumerate(base.blocks)
    ]
    turns.take(batch(base))
    for hook in hooks:
        hook.remove()
    last = len(base.blocks) - 1
    # "all" and "bitfit" run every block again, "last" the last one only, "head" none.
    assert calls == {**dict.fromkeys(range(last), 3), last: 4}


def test_the_base_is_left_as_it_was(base):
    before = base.logits(batch(base))[0]
    Turns(base, systems(base)).take(batch(base))
    assert base.active_adapter is None
    assert torch.equal(base.logits(batch(base))[0], before)
    assert all("forward" not in vars(module) for module in base.model.modules())


def test_an_adapter_whose_shortcut_is_wrong_goes_the_whole_way(base, monkeypatch):
    each = systems(base)
    too_high = len(base.blocks)
    monkeypatch.setattr(turns_file, "lowest_block", lambda adapter: too_high)
    turns = Turns(base, each)
    assert set(turns._cuts) == {"head"}
    features = batch(base)
    heard = turns.take(features)
    activate(base, each["all"])
    assert heard["all"].texts == recognise_features(base, features)
    activate(base, None)


def test_the_time_of_the_shared_part_is_in_everyones(base):
    each = systems(base)
    taken = Turns(base, each).take(batch(base))
    assert all(turn.seconds > 0 for turn in taken.values())
    assert lowest_block(each["head"]) == len(base.blocks)


def test_the_base_must_come_first(base):
    with pytest.raises(ValueError, match="first"):
        Turns(base, dict(reversed(systems(base).items())))


def departments(base, lora: bool):
    """Adapters of which each hears utterances of its own, and what each hears alone."""
    made = [
        attach(base, "tpa", TPASettings(bottleneck_dim=4, blocks="upper-half"), name="first"),
        attach(base, "houlsby", TPASettings(bottleneck_dim=6, blocks="upper-half"), name="second"),
    ]
    if lora:
        made.append(attach(base, "lora", LoRASettings(r=2, blocks="upper-half"), name="third"))
    for seed, adapter in enumerate(made):
        loud(adapter, seed)
    activate(base, None)
    owners = [made[n % len(made)] if n != 4 else None for n in range(7)]
    return Departments(Together(base, made), owners)


@pytest.mark.parametrize("lora", [False, True])
def test_each_department_hears_what_it_hears_alone(base, lora):
    system = departments(base, lora)
    turns = Turns(base, {"base": None, "departments": system})
    # The short way is taken where all go together, or nothing is proved here.
    assert turns._cuts == ({} if lora else {"departments": len(base.blocks) // 2 + 1})
    indices = [5, 4, 0]
    features = batch(base, len(indices))
    heard = turns.take(features, indices)
    activate(base, None)
    assert heard["base"].texts == recognise_features(base, features)
    for place, index in enumerate(indices):
        activate(base, system.owners[index])
        assert heard["departments"].texts[place] == recognise_features(base, features)[place]
    activate(base, None)
    assert len(set(heard["departments"].texts)) > 1
