"""The search space: what is taken, and what is said about the rest."""

from __future__ import annotations

import pytest

from tests.flows.search.conftest import space_file
from tpactl.errors import UsageError
from tpactl.flows.search.space import check_defaults, read_space, shipped_space
from tpactl.formats.run import RunConfig
from tpactl.formats.search import Range


def faults(tmp_path, space, config: RunConfig = RunConfig()) -> list[str]:  # noqa: B008  frozen
    with pytest.raises(UsageError) as raised:
        read_space(space_file(tmp_path, space), config)
    return [raised.value.problem, *raised.value.details]


def test_the_shipped_space_holds_what_the_method_reads():
    tpa = read_space(shipped_space(), RunConfig())
    assert {key.partition(".")[0] for key in tpa} == {"adapter", "training"}
    assert len(tpa) >= 6
    lora = read_space(shipped_space(), RunConfig(method="lora"))
    assert {key.partition(".")[0] for key in lora} == {"lora", "training"}
    head = read_space(shipped_space(), RunConfig(method="head"))
    assert {key.partition(".")[0] for key in head} == {"training"}


def test_an_unknown_key_is_answered_with_the_nearest(tmp_path):
    (fault,) = faults(tmp_path, {"adapter.botleneck_dim": [8]})
    assert "unknown key adapter.botleneck_dim; the closest is adapter.bottleneck_dim" in fault


def test_every_fault_is_told_at_once(tmp_path):
    told = faults(
        tmp_path,
        {
            "training.seed": [0, 1],
            "training.cache_dir": ["x"],
            "data": ["a", "b"],
            "adapter.bottleneck_dim": [8, "wide", 0],
            "adapter.blocks": [],
            "adapter.dropout": {"low": 0.0, "high": 1.5},
            "training.learning_rate": {"low": 0, "high": 1e-2, "log": True},
            "training.head_learning_rate": {"low": 2e-2, "high": 1e-2},
            "training.weight_decay": {"low": 0.0},
            "training.spec_augment": [True, True],
            "training.patience": 5,
            "method": ["tpa", "full"],
            "decoder": [None],
        },
    )
    text = "\n".join(told)
    for expected in (
        "training.seed is the same in all trials",
        "training.cache_dir is the same in all trials",
        "data is the same in all trials",
        "('wide')",
        "(0)",
        "adapter.blocks: the list of values is empty",
        "(1.5)",
        "training.learning_rate: low is 0;",
        "training.head_learning_rate: low is 0.02, not below high, 0.01",
        "training.weight_decay: expected a list of values, or low and high",
        "training.spec_augment: True is listed twice",
        "training.patience: expected a list of values, or low and high",
        "method: full has no adapter",
        "decoder: null is no value",
    ):
        assert expected in text
    assert len(told) == 14


def test_a_file_that_is_no_space_is_named(tmp_path):
    file = tmp_path / "space.yaml"
    with pytest.raises(UsageError, match="cannot be read") as raised:
        read_space(file, RunConfig())
    assert raised.value.fix == "check the path given to --space"
    for content in (b"[1, 2", b"\xff\xfe\x00", b"just words", b"- a\n- b"):
        file.write_bytes(content)
        with pytest.raises(UsageError, match=r"space\.yaml"):
            read_space(file, RunConfig())


def test_a_space_without_anything_the_method_reads_is_refused(tmp_path):
    assert "names nothing that the method tpa reads" in faults(tmp_path, {"lora.r": [4, 8]})[0]
    assert "names nothing" in faults(tmp_path, {})[0]


def test_multiples_need_a_default_that_is_a_number():
    times = Range(low=0.5, high=2, times_default=True)
    check_defaults({"training.learning_rate": times}, {"training.learning_rate": 1e-3})
    for default in (None, "all", True):
        with pytest.raises(UsageError, match="times_default needs a number"):
            check_defaults({"key": times}, {"key": default})
