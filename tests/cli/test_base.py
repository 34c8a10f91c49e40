"""``tpactl base`` describes a base and tells its identity."""

from __future__ import annotations

import pytest
from models import D_MODEL, NUM_BLOCKS, tiny_base


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_base(tmp_path_factory.mktemp("base"))


def test_show_counts_exactly_what_an_adapter_adds(tpactl, tiny):
    from tpactl.adapters.attach import attach
    from tpactl.bases.load import load_base
    from tpactl.formats.adapter import TPASettings

    shown = tpactl("base", "show", tiny, "--width", 5, "--json").json
    base = load_base(str(tiny))
    adapter = attach(base, "tpa", TPASettings(bottleneck_dim=5))
    assert shown["adapter_parameters"] == adapter.adapter_parameters
    assert shown["head_parameters"] == adapter.head_parameters
    assert shown["parameters"] == base.num_parameters
    assert shown["adapter_sites"] == adapter.config("x").target_modules
    assert (shown["blocks"], shown["d_model"]) == (NUM_BLOCKS, D_MODEL)
    assert shown["digest"] == base.identity.digest


def test_show_says_it_in_words(tpactl, tiny):
    outcome = tpactl("base", "show", tiny)
    assert outcome.exit_code == 0
    assert "ParakeetForCTC (family parakeet, decoder ctc)" in outcome.out
    assert f"{NUM_BLOCKS} Conformer blocks of width {D_MODEL}, feed-forward 32" in outcome.out
    assert "TPA of width 32" in outcome.out
    assert "TPA of width 80" in tpactl("base", "show", "starter").out


def test_an_adapter_wider_than_what_it_stands_beside_is_refused(tpactl, tiny):
    outcome = tpactl("base", "show", tiny, "--width", 100_000_000)
    assert outcome.exit_code == 2
    assert "width 100000000 is wider than this base's feed-forward modules" in outcome.err
    assert "give at most --width 32" in outcome.err


def test_fingerprint_is_the_identity(tpactl, tiny):
    from tpactl.bases.identity import fingerprint

    shown = tpactl("base", "fingerprint", tiny, "--json").json
    identity = fingerprint(tiny)
    assert shown["digest"] == identity.digest
    assert shown["tensors"] == identity.tensors
    assert identity.digest[:40] in tpactl("base", "fingerprint", tiny).out


@pytest.mark.parametrize("command", ["show", "fingerprint"])
def test_a_folder_without_a_model_is_exit_4(tpactl, tmp_path, command):
    outcome = tpactl("base", command, tmp_path, "--json")
    assert outcome.exit_code == outcome.json["exit_code"] == 4
