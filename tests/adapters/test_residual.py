"""The residual family: where a bottleneck stands, what it reads, how it starts."""

from __future__ import annotations

import pytest
import torch
from adapters.cases import disturb, logits, model_logits, tpa

from tpactl.adapters.attach import activate, attach
from tpactl.adapters.merge import merge
from tpactl.adapters.methods import METHODS
from tpactl.errors import UsageError
from tpactl.formats.adapter import TPASettings


def taps(modules, run):
    """Return what each module read (its first argument) and gave (its first value)."""
    seen = {}

    def tap(name):
        def hook(module, args, kwargs, out):
            given = args[0] if args else kwargs["hidden_states"]
            seen[name] = given, out[0] if isinstance(out, tuple) else out

        return hook

    handles = [
        module.register_forward_hook(tap(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    run()
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("site", ["ffn1", "attention", "conv", "ffn2", "block"])
@pytest.mark.parametrize(
    ("form", "read"),
    [("parallel", "ffn"), ("parallel", "residual"), ("sequential", "ffn")],
)
def test_a_bottleneck_reads_what_its_shape_says_and_adds_to_its_module(
    base, features, site, form, read
):
    adapter = attach(base, "tpa", tpa(sites=[site], form=form, input=read, blocks=[1], scale=2.0))
    disturb(adapter)
    ((place, bottleneck),) = adapter.sites()
    seen = taps(
        {"module": place.module, "norm": place.norm, "bottleneck": bottleneck},
        lambda: logits(base, features),
    )
    # The first tap of the module comes after the adapter's own hook.
    module_read, given = seen["module"]
    norm_read, norm_gave = seen["norm"]
    bottleneck_read, added = seen["bottleneck"]
    before = given - added
    if form == "sequential":
        torch.testing.assert_close(bottleneck_read, before, atol=1e-4, rtol=1e-4)
    elif site == "block":
        assert bottleneck_read is module_read
    else:
        assert torch.equal(bottleneck_read, norm_gave if read == "ffn" else norm_read)
    assert float(added.abs().max()) > 0


def test_at_a_block_a_sequential_adapter_may_read_the_stream_before_the_final_norm(base, features):
    shape = tpa(sites=["block"], form="sequential", input="residual", blocks=[1])
    adapter = attach(base, "tpa", shape)
    disturb(adapter)
    ((place, bottleneck),) = adapter.sites()
    seen = taps({"norm": place.norm, "bottleneck": bottleneck}, lambda: logits(base, features))
    assert torch.equal(seen["bottleneck"][0], seen["norm"][0])


def test_sites_come_in_the_order_of_the_computation_under_exact_paths(base):
    names = ["block", "ffn2", "conv", "attention", "ffn1"]
    adapter = attach(base, "tpa", tpa(sites=names, blocks=[0, 2]))
    expected = [
        base.blocks[index].site(name).path for index in (0, 2) for name in reversed(names[1:])
    ]
    paths = [site.path for site, _ in adapter.sites()]
    assert [path for path in paths if path not in (base.blocks[0].path, base.blocks[2].path)] == (
        expected
    )
    assert paths[4] == base.blocks[0].path
    assert paths[9] == base.blocks[2].path
    assert len(paths) == 10
    assert adapter.config("x").target_modules == paths


def test_the_presets_have_the_shapes_of_their_papers_and_every_key_can_be_set(parakeet):
    def shape(method, **keys):
        return attach(parakeet, method, TPASettings(**keys)).settings

    assert shape("tpa").sites == ("ffn1", "ffn2")
    houlsby = shape("houlsby")
    assert (houlsby.form, houlsby.sites) == ("sequential", ("ffn1", "attention", "ffn2"))
    assert (shape("pfeiffer").form, shape("pfeiffer").sites) == ("sequential", ("ffn2",))
    assert (shape("parallel").form, shape("parallel").scale) == ("parallel", 4.0)
    changed = shape("houlsby", form="parallel", sites=["conv"], bottleneck_dim=5, scale="learned")
    assert (changed.form, changed.sites) == ("parallel", ("conv",))
    assert (changed.bottleneck_dim, changed.scale) == (5, "learned")
    assert changed.activation == METHODS["houlsby"].defaults.activation == "relu"


def test_the_initialisation_sets_the_start_of_the_bottleneck(parakeet):
    d_model = parakeet.d_model
    largest = {}
    for start in ("uniform", "kaiming", "praxis"):
        adapter = attach(parakeet, "tpa", tpa(bottleneck_dim=64, initialisation=start))
        pairs = [bottleneck for _, bottleneck in adapter.sites()]
        down = torch.cat([bottleneck.down.weight for bottleneck in pairs])
        largest[start] = float(down.detach().abs().max())
        biases = torch.cat([b for pair in pairs for b in (pair.up.bias, pair.down.bias)])
        assert (float(biases.detach().abs().max()) > 0) == (start == "praxis")
        assert not any(bottleneck.up.weight.any() for bottleneck in pairs)
    assert largest["uniform"] == pytest.approx(d_model**-0.5, rel=0.01)
    assert largest["kaiming"] == pytest.approx((6 / d_model) ** 0.5, rel=0.01)
    assert largest["praxis"] == pytest.approx((6 / (d_model + 64)) ** 0.5, rel=0.01)


def test_blocks_are_counted_from_the_audio_and_checked(base):
    adapter = attach(base, "tpa", TPASettings(blocks="upper-half"))
    assert adapter.block_indices == [2]
    assert all(base.blocks[2].path in site.path for site, _ in adapter.sites())
    for blocks in ([], [3], [1, 1], [-1]):
        with pytest.raises(UsageError, match=r"adapter\.blocks is .* blocks 0 to 2"):
            attach(base, "tpa", TPASettings(blocks=blocks))


def test_sites_that_cannot_be_are_refused(parakeet):
    for sites in ([], ["ffn1", "ffn1"]):
        with pytest.raises(UsageError, match=r"adapter\.sites is"):
            attach(parakeet, "tpa", tpa(sites=sites))
    with pytest.raises(UsageError, match="reads the output of ffn2") as caught:
        attach(parakeet, "pfeiffer", tpa(input="residual"))
    assert "adapter.input=ffn" in caught.value.fix


def test_an_adapter_made_while_another_is_heard_has_modules_of_its_own(base, features):
    alone = attach(base, "tpa", tpa(), seed=2)
    disturb(alone, 2)
    expected = logits(base, features)
    activate(base, None)
    disturb(attach(base, "tpa", tpa(), seed=1), 1)
    beside = attach(base, "tpa", tpa(), seed=2)
    disturb(beside, 2)
    assert torch.equal(logits(base, features), expected)
    activate(base, alone)
    torch.testing.assert_close(model_logits(merge(beside), features), expected, atol=2e-5, rtol=0)


def test_an_unknown_method_names_the_closest_and_the_known_ones(parakeet):
    with pytest.raises(UsageError, match="the closest is lora") as caught:
        attach(parakeet, "lora-typo", TPASettings())
    assert "tpa, houlsby, pfeiffer, parallel, lora, dora, ia3, bitfit, head, full" in (
        caught.value.fix
    )
