"""Adapters of every method in one batch: each utterance is what its own adapter makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from adapters.cases import CASES, disturb, logits, tpa

from tpactl.adapters.adapter import base_alone
from tpactl.adapters.attach import activate, attach
from tpactl.adapters.residual import SiteBottleneck
from tpactl.adapters.together import Together
from tpactl.bases.load import load_base
from tpactl.bases.recognise import recognise_features

ALONE = {"lora", "dora", "ia3", "bitfit"}


def put(base, case, seed=0):
    adapter = attach(base, case.method, case.settings, decoder=case.decoder, name=f"{case}{seed}")
    disturb(adapter, seed)
    return adapter.requires_grad_(False)


def batch(base, count):
    noise = np.random.default_rng(2)
    lengths = [8_000] * count if base.family.padding_leaks else noise.integers(6_000, 14_000, count)
    return base.features([noise.normal(0, 0.1, n).astype(np.float32) for n in lengths])


def one_at_a_time(base, features, rows):
    """Return the logits of each utterance with its adapter alone in place, in the same padding."""
    heard = {}
    for adapter in set(rows):
        activate(base, adapter)
        heard[adapter] = logits(base, features)
    activate(base, None)
    return torch.stack([heard[adapter][place] for place, adapter in enumerate(rows)])


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_in_company_an_utterance_is_what_its_adapter_alone_makes_of_it(base, case):
    first, second = put(base, case), put(base, case, seed=1)
    wide = attach(base, "tpa", tpa(bottleneck_dim=9, scale="learned"), name="wide")
    disturb(wide, 2)
    rows = [first, None, wide, second, None, first]
    features = batch(base, len(rows))
    expected = one_at_a_time(base, features, rows)
    together = Together(base, [first, second, wide])
    found, lengths = together.logits(features, rows)
    assert_equal(found, expected)
    assert lengths.tolist() == base.output_lengths(features.lengths).tolist()
    # Nothing would be proved by adapters that change nothing, or all alike.
    alone = logits(base, features)
    assert not torch.allclose(expected[0], alone[0], atol=1e-4)
    assert not torch.allclose(expected[3], one_at_a_time(base, features, [first] * 6)[3], atol=1e-4)
    assert set(together.alone) == ({first, second} if case.method in ALONE else set())
    assert all(case.method in why for why in together.alone.values())


def test_every_shape_at_once_blocks_and_heads_differing(base):
    adapters = [put(base, case, seed) for seed, case in enumerate(CASES)]
    rows = [None, *adapters]
    features = batch(base, len(rows))
    together = Together(base, adapters)
    assert {adapter.method.name for adapter in together.alone} == ALONE
    assert len(adapters) - len(together.alone) > 12
    expected = one_at_a_time(base, features, rows)
    assert_equal(together.logits(features, rows)[0], expected)
    # The order of the batch is that of the caller.
    turned = type(features)(features.inputs.flip(0), features.lengths.flip(0))
    assert_equal(together.logits(turned, rows[::-1])[0].flip(0), expected)


def test_the_transcripts_are_those_of_one_at_a_time(base):
    adapters = [put(base, CASES[0], seed) for seed in range(3)]
    rows = [adapters[2], None, adapters[0], adapters[1], adapters[0]]
    features = batch(base, len(rows))
    expected = []
    for place, adapter in enumerate(rows):
        activate(base, adapter)
        expected.append(recognise_features(base, features)[place])
    activate(base, None)
    assert Together(base, adapters).recognise(features, rows) == expected
    assert any(expected)


def test_the_base_goes_once_through_its_blocks_for_all_that_can_share(base):
    adapters = [put(base, CASES[0], seed) for seed in range(4)]
    lora = put(base, next(case for case in CASES if case.method == "lora"))
    together = Together(base, [*adapters, lora])
    calls = []
    handle = base.blocks[0].module.register_forward_hook(lambda *_: calls.append(1))
    together.logits(batch(base, 5), [*adapters, None])
    assert len(calls) == 1
    together.logits(batch(base, 6), [lora, *adapters, lora])
    assert len(calls) == 3
    handle.remove()


def test_afterwards_the_base_is_what_it_was_and_what_was_active_is_active_again(parakeet):
    base = parakeet
    features = batch(base, 2)
    adapters = [put(base, case, 1) for case in (CASES[0], CASES[11], CASES[-1])]
    activate(base, None)
    before = logits(base, features)
    together = Together(base, adapters)
    together.logits(features, [adapters[0], adapters[1]])
    assert base.active_adapter is None
    assert torch.equal(logits(base, features), before)
    activate(base, adapters[2])
    heard = logits(base, features)
    together.logits(features, [adapters[0], None])
    assert base.active_adapter is adapters[2]
    assert torch.equal(logits(base, features), heard)


def test_one_that_is_activated_meanwhile_is_heard_alone(parakeet):
    base = parakeet
    features = batch(base, 2)
    first, second = put(base, CASES[0]), put(base, CASES[0], 1)
    activate(base, second)
    expected = logits(base, features)
    activate(base, None)
    with Together(base, [first, second]).acting([first, None]):
        activate(base, second)
        assert torch.equal(logits(base, features), expected)
    assert base.active_adapter is None
    assert not base.blocks[0].ffn1.module._forward_hooks


def test_taken_off_for_a_while_it_is_put_on_again(parakeet):
    base = parakeet
    features = batch(base, 2)
    before = logits(base, features)
    adapters = [put(base, CASES[0], seed) for seed in range(2)]
    activate(base, None)
    with Together(base, adapters).acting(adapters):
        acting = logits(base, features)
        with base_alone(base):
            assert torch.equal(logits(base, features), before)
        assert torch.equal(logits(base, features), acting)
    assert not torch.equal(acting, before)
    assert torch.equal(logits(base, features), before)


def test_an_error_on_the_way_leaves_nothing_in_place(parakeet):
    base = parakeet
    features = batch(base, 3)
    before = logits(base, features)
    adapters = [put(base, CASES[0], seed) for seed in range(2)]
    activate(base, None)
    together = Together(base, adapters)

    def fail(*_):
        raise RuntimeError("on the way")

    handle = base.blocks[1].module.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="on the way") as caught:
        together.logits(features, [*adapters, None])
    handle.remove()
    assert base.active_adapter is None
    assert torch.equal(logits(base, features), before)
    assert caught.value is not None


def test_a_batch_of_one_adapter_has_its_own_bits(parakeet):
    base = parakeet
    features = batch(base, 2)
    adapter = put(base, CASES[0])
    expected = logits(base, features)
    activate(base, None)
    found, _ = Together(base, [adapter]).logits(features, [adapter, adapter])
    assert torch.equal(found, expected)


class Otherwise(SiteBottleneck):
    """A part of somebody's own, which computes something else."""

    def put_on(self):
        return []


def test_what_cannot_be_stacked_goes_alone_and_says_why(parakeet):
    base = parakeet
    own, widened = put(base, CASES[0]), put(base, CASES[0], 1)
    own.parts[0].__class__ = Otherwise
    head = widened.head
    head.weight = torch.nn.Parameter(torch.cat([head.weight, head.weight[:2]]))
    whole = attach(base, "tpa", tpa(sites=["ffn2"]), decoder=["encoder.layers.2.feed_forward1"])
    together = Together(base, [own, widened, whole])
    path = own.parts[0].path
    assert together.alone == {
        own: f"tpa: the part at {path} is no bottleneck",
        widened: "tpa: the decoder module trained whole at ctc_head is no bottleneck",
        whole: "tpa: the decoder module trained whole at encoder.layers.2.feed_forward1 is no "
        "bottleneck",
    }


def test_each_utterance_needs_a_row_and_each_adapter_this_base(parakeet, bases):
    adapter = put(parakeet, CASES[0])
    together = Together(parakeet, [adapter])
    with pytest.raises(ValueError, match="1 adapters for 2 utterances"):
        together.logits(batch(parakeet, 2), [adapter])
    with pytest.raises(ValueError, match="not among"):
        together.logits(batch(parakeet, 2), [adapter, put(parakeet, CASES[0])])
    with pytest.raises(ValueError, match="another base"):
        Together(bases["lasr"], [adapter])


def test_on_a_base_in_bf16_the_tolerance_is_that_of_bf16(folders):
    base = load_base(str(folders["parakeet"]), dtype=torch.bfloat16)
    features = batch(base, 3)
    rows = [put(base, CASES[0]), None, put(base, CASES[8], 1)]
    together = Together(base, [rows[0], rows[2]])
    expected = one_at_a_time(base, features, rows).float()
    found, _ = together.logits(features, rows)
    assert float((found - expected).norm() / expected.norm()) < 0.02
