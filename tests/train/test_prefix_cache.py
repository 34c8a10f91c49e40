"""Training on the cached prefix learns what training on the whole model learns."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.models import tiny_base
from tests.train.conftest import quick
from tests.train.tones import department
from tpactl.errors import InputError, UsageError
from tpactl.formats.dataset import DataSet
from tpactl.train.train import train

UPPER = ("adapter.blocks=[2]", "training.max_epochs=10")
CACHED = (*UPPER, "training.cached_prefix=true")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A department of its own, because its folder gets the cache."""
    return department(tmp_path / "data", accent=1.4)


def notes(run: Path) -> list[str]:
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [line["message"] for line in lines if line["kind"] == "note"]


def losses_of(run: Path) -> list[float]:
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "step"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter" / "adapter_model.safetensors")


def caches(data: Path) -> list[str]:
    return sorted(folder.name for folder in (data / "prefix").iterdir())


def test_the_same_is_learnt_within_the_rounding_of_bfloat16(taught, data, tmp_path):
    whole = train(data, quick(taught, *UPPER), tmp_path / "whole")
    cached = train(data, quick(taught, *CACHED), tmp_path / "cached")
    losses = [losses_of(tmp_path / name) for name in ("whole", "cached")]
    assert len(losses[0]) == len(losses[1]) == whole.cost.steps == cached.cost.steps
    assert losses[0] == pytest.approx(losses[1], rel=0.1, abs=0.05)
    assert losses[0] != losses[1], "the cache was not read"
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cached")
    assert one.keys() == other.keys()


def test_a_cache_is_told_before_it_is_written_and_used_again(taught, data, tmp_path):
    train(data, quick(taught, *CACHED), tmp_path / "one")
    [said] = notes(tmp_path / "one")
    [name] = caches(data)
    assert "2 of 3 blocks, 1 copy" in said
    assert name in said
    before = (data / "prefix" / name / "frames.bf16").stat()
    train(data, quick(taught, *CACHED), tmp_path / "two")
    assert notes(tmp_path / "two") == [
        said.partition(" takes")[0] + f" in {data}/prefix/{name} is used again"
    ]
    assert (data / "prefix" / name / "frames.bf16").stat() == before
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("changed", ["audio", "seed", "cut", "base"])
def test_a_stale_cache_is_impossible(changed, taught, data, tmp_path):
    augmented = ("training.speed_perturbation=true", "training.cached_copies=2")
    few = (*CACHED, *augmented, "training.max_steps=2")
    train(data, quick(taught, *few), tmp_path / "one")
    base, more = taught, ()
    if changed == "audio":
        row = DataSet(data).utterances("train")[0]
        path = DataSet(data).audio_path(row)
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    elif changed == "seed":
        more = ("training.seed=1",)
    elif changed == "cut":
        more = ("adapter.blocks=[1]",)
    else:
        base = tiny_base(tmp_path / "other", seed=3)
    train(data, quick(base, *few, *more), tmp_path / "two")
    assert len(caches(data)) == 2


def test_a_cache_cut_off_is_refused(taught, data, tmp_path):
    train(data, quick(taught, *CACHED), tmp_path / "one")
    [name] = caches(data)
    frames = data / "prefix" / name / "frames.bf16"
    frames.write_bytes(frames.read_bytes()[:-2])
    with pytest.raises(InputError, match="not the cached prefix"):
        train(data, quick(taught, *CACHED), tmp_path / "two")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (("training.spec_augment=true",), "anew in every step"),
        (("training.speed_perturbation=true",), "anew in every step"),
        (("training.cache_gb=1e-6",), "cache_gb allows"),
        (("method=bitfit",), "in front of all blocks"),
        (("method=full",), "every block"),
    ],
)
def test_what_would_make_it_untrue_is_refused(overrides, problem, taught, data, tmp_path):
    shape = () if "method" in overrides[0] else ("adapter.blocks=[2]",)
    with pytest.raises(UsageError, match=problem):
        train(
            data, quick(taught, "training.cached_prefix=true", *shape, *overrides), tmp_path / "run"
        )
    assert not (data / "prefix").exists()
    assert not (tmp_path / "run").exists()


def test_epochs_take_the_augmented_copies_in_turn(taught, data, tmp_path):
    augmented = ("training.spec_augment=true", "training.cached_copies=3", "training.max_epochs=4")
    train(data, quick(taught, *CACHED, *augmented), tmp_path / "run")
    [name] = caches(data)
    index = json.loads((data / "prefix" / name / "index.json").read_text())
    assert [len(copy) for copy in index["starts"]] == [24, 24, 24]
    assert index["lengths"][0] == index["lengths"][1]


def test_blocks_that_stand_aside_may_also_be_computed_twice(taught, data, tmp_path):
    train(data, quick(taught, *CACHED), tmp_path / "plain")
    twice = (*CACHED, "training.activation_checkpointing=true")
    train(data, quick(taught, *twice), tmp_path / "twice")
    one, two = weights(tmp_path / "plain"), weights(tmp_path / "twice")
    assert all(torch.equal(one[key], two[key]) for key in one)
