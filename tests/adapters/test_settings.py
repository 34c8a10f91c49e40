"""Which keys of a run file a method reads."""

from __future__ import annotations

import pytest

from tpactl.adapters.settings import check, check_read, resolve
from tpactl.errors import UsageError
from tpactl.formats.adapter import TPASettings
from tpactl.formats.run import RunConfig


def test_what_is_resolved_says_every_key_of_the_method():
    config = resolve(RunConfig(method="houlsby", adapter=TPASettings(bottleneck_dim=7)))
    shape = config.adapter
    assert (shape.form, shape.bottleneck_dim, shape.activation) == ("sequential", 7, "relu")
    assert None not in [getattr(shape, key) for key in TPASettings.__struct_fields__]
    assert resolve(config) == config
    assert resolve(RunConfig(method="lora")).adapter == TPASettings()
    assert resolve(RunConfig(method="full")) == RunConfig(method="full")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (RunConfig(method="full", decoder="none"), "method full trains every weight"),
        (RunConfig(method="head", decoder="none"), "trains nothing"),
        (RunConfig(method="tap"), "no method 'tap'; the closest is tpa"),
    ],
)
def test_what_a_method_does_not_do_is_refused(config, said):
    with pytest.raises(UsageError) as caught:
        check(config)
    assert said in caught.value.problem


@pytest.mark.parametrize(
    ("method", "key", "said"),
    [
        ("lora", "adapter.bottleneck_dim", "its keys begin with lora."),
        ("dora", "ia3.blocks", "its keys begin with lora."),
        ("tpa", "lora.r", "its keys begin with adapter."),
        ("head", "bitfit.front", "it has no keys of its own"),
        ("full", "adapter.scale", "it has no keys of its own"),
    ],
)
def test_a_key_that_the_chosen_method_does_not_read_is_refused(method, key, said):
    with pytest.raises(UsageError) as caught:
        check_read(method, ["training.seed", key, "decoder"])
    assert caught.value.problem == f"method {method} does not read {key}; {said}"
    check_read("tpa", ["adapter.scale", "decoder"])
