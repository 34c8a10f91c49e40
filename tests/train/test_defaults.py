from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from tpactl.adapters.methods import METHODS
from tpactl.formats.adapter import TPASettings
from tpactl.formats.augment import AugmentSettings
from tpactl.formats.run import RunConfig, TrainingSettings
from tpactl.train.defaults import AMOUNTS, explain, resolve

LIMITS = {"max_steps", "max_minutes", "patience"}
CACHE = {"cached_copies", "cache_dir"}
"""Asked for, never chosen."""
SOURCES = ("noise", "rir", "telephone")


@pytest.mark.parametrize("method", [*METHODS, "full"])
@pytest.mark.parametrize("hours", [0.05, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("parameters", [7_700_000, 1_100_000_000])
def test_nothing_but_limits_is_left_open(method, hours, parameters):
    resolved = resolve(RunConfig(method=method), hours=hours, base_parameters=parameters)
    fields = TrainingSettings.__struct_fields__
    assert len(fields) > 12
    unset = {name for name in fields if getattr(resolved.training, name) is None}
    assert unset == LIMITS | CACHE
    assert None not in [getattr(resolved.augment, f"{key}_probability") for key in SOURCES]
    section = METHODS[method].section if method in METHODS else None
    if section is not None:
        shape = getattr(resolved, section)
        assert None not in [getattr(shape, key) for key in shape.__struct_fields__]


def test_what_is_set_stays():
    given = TrainingSettings(learning_rate=0.5, max_epochs=2.0, spec_augment=False, dropout=True)
    resolved = resolve(RunConfig(training=given), hours=3.0, base_parameters=10**7).training
    assert (resolved.learning_rate, resolved.max_epochs) == (0.5, 2.0)
    assert (resolved.spec_augment, resolved.dropout) == (False, True)


def test_the_guide_shows_the_defaults_that_the_code_has():
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "train.md").read_text()
    before = 0.0
    for amount in AMOUNTS:
        upper = amount.up_to_hours
        name = f"up to {upper:g} h" if upper < math.inf else f"more than {before:g} h"
        speeds = "yes" if amount.speed_perturbation else "no"
        haste = f"x {amount.haste:g}" if amount.haste != 1 else "–"
        assert (
            f"| {name} | {amount.max_epochs:g} | {amount.batch_s:g} | {amount.evaluations} "
            f"| {amount.weight_decay:g} | {haste} | {amount.bottleneck_dim} | {speeds} "
            f"| {amount.disturbed:g} |"
        ) in guide
        before = upper
    for method in ("tpa", "lora", "dora", "ia3", "bitfit", "head", "full"):
        cells = []
        for parameters in (10**7, 10**9):
            chosen = resolve(RunConfig(method=method), hours=1.0, base_parameters=parameters)
            training = chosen.training
            cells.append(f"{training.learning_rate:g} / {training.head_learning_rate:g}")
        assert f"| `{method}` | {cells[0]} | {cells[1]} |" in guide


def test_an_adapter_learns_faster_than_a_whole_model_and_a_small_base_than_a_large():
    def rate(method, parameters):
        config = resolve(RunConfig(method=method), hours=1.0, base_parameters=parameters)
        return config.training.learning_rate

    assert rate("tpa", 10**7) > rate("full", 10**7) > rate("full", 10**9)
    assert rate("tpa", 10**9) == 10 * rate("full", 10**9)


def test_more_data_need_less_regularisation_and_larger_batches():
    assert len(AMOUNTS) == 4
    for less, more in itertools.pairwise(AMOUNTS):
        assert less.up_to_hours < more.up_to_hours
        assert less.weight_decay >= more.weight_decay
        assert less.batch_s < more.batch_s


def test_few_minutes_are_learnt_faster_and_only_bottlenecks_are_pulled_to_zero():
    def chosen(method, hours=0.1, parameters=10**7):
        config = RunConfig(method=method)
        return resolve(config, hours=hours, base_parameters=parameters).training

    for method in ("tpa", "houlsby", "lora"):
        assert chosen(method).learning_rate == 2 * chosen(method, hours=3.0).learning_rate
    assert chosen("full").learning_rate == chosen("full", hours=3.0).learning_rate
    assert chosen("tpa").weight_decay > chosen("tpa", parameters=10**9).weight_decay > 0
    assert {chosen(method).weight_decay for method in ("lora", "bitfit", "head", "full")} == {0.0}


def test_a_tpa_is_wider_for_hours_of_speech_unless_its_width_is_given():
    def width(hours, method="tpa", **adapter):
        config = RunConfig(method=method, adapter=TPASettings(**adapter))
        return resolve(config, hours=hours, base_parameters=10**7).adapter.bottleneck_dim

    assert (width(1.0), width(1.1), width(100.0)) == (80, 256, 256)
    assert width(100.0, bottleneck_dim=16) == 16
    assert width(100.0, method="houlsby") == width(0.1, method="houlsby")


def test_a_small_base_drops_units_for_low_rank_updates_but_not_below_a_cache():
    lora = RunConfig(method="lora")
    assert resolve(lora, hours=1.0, base_parameters=10**7).training.dropout is True
    assert resolve(lora, hours=1.0, base_parameters=10**9).training.dropout is False
    cached = TrainingSettings(cached_prefix=True)
    config = RunConfig(method="lora", training=cached)
    assert resolve(config, hours=1.0, base_parameters=10**7).training.dropout is False


def explained(config: RunConfig, hours: float, parameters: int) -> str:
    resolved = resolve(config, hours=hours, base_parameters=parameters)
    assert explain(resolved, resolved, hours=hours, base_parameters=parameters) == ""
    return explain(config, resolved, hours=hours, base_parameters=parameters)


def test_what_was_chosen_is_told_with_its_reason():
    assert explained(RunConfig(), 0.424, 7_700_000) == (
        "for 0.42 h of speech (up to 1 h): max_epochs=20, batch_s=30, evaluations=10, "
        "speed_perturbation=true, weight_decay=0.3, adapter.bottleneck_dim=80; for tpa on a base "
        "of 8 M parameters (below 50 M): learning_rate=0.004, head_learning_rate=0.004; for tpa: "
        "dropout=false, adapter.form=parallel, adapter.sites=[ffn1,ffn2], "
        "adapter.input=ffn, adapter.activation=ffn, adapter.scale=1, adapter.dropout=0.1, "
        "adapter.initialisation=kaiming, adapter.blocks=all; for any training: spec_augment=true"
    )


def test_what_was_given_is_not_told_and_shares_only_of_what_is_asked_for():
    config = RunConfig(
        method="lora",
        training=TrainingSettings(learning_rate=1e-3, spec_augment=False),
        augment=AugmentSettings(noise="street", rir="rooms", rir_probability=0.1),
    )
    said = explained(config, 30.0, 600_000_000)
    assert "more than 5 h" in said
    assert "augment.noise_probability=0.3" in said
    assert "head_learning_rate=0.0005" in said
    for part in ("rir", "telephone", " learning_rate", "spec_augment", "adapter."):
        assert part not in said
