"""Training on the cached prefix learns what training on the whole model learns."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.models import tiny_base
from tests.train.conftest import quick
from tests.train.places import all_of
from tests.train.tones import department
from tpactl.adapters.prefix import Prefix
from tpactl.bases.base import Base
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
    said = [line["message"] for line in lines if line["kind"] == "note"]
    return [note for note in said if "cached prefix" in note]


def losses_of(run: Path) -> list[float]:
    lines = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "step"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "adapter" / "adapter_model.safetensors")


def caches(data: Path, split: str = "train") -> list[str]:
    found = sorted((data / "prefix").iterdir())
    keys = {f.name: json.loads((f / "index.json").read_text())["key"] for f in found}
    return [name for name, key in keys.items() if key["split"] == split]


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
    [of_dev] = caches(data, "dev")
    assert "2 of 3 blocks, 1 copy" in said
    assert name in said
    assert of_dev in said
    sizes = [
        (data / "prefix" / place / file).stat().st_size
        for place, file in ((name, "frames.bf16"), (of_dev, "frames.f32"))
    ]
    assert f"takes {sum(sizes) / 1e9:.2g} GB" in said
    before = (data / "prefix" / name / "frames.bf16").stat()
    train(data, quick(taught, *CACHED), tmp_path / "two")
    assert notes(tmp_path / "two") == [
        said.partition(" takes")[0] + f" in {data}/prefix/{name} is used again"
    ]
    assert (data / "prefix" / name / "frames.bf16").stat() == before
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_dev_is_measured_as_without_a_cache_bit_for_bit(precision, taught, data, tmp_path):
    """With nothing learnt, every measurement is that of the same weights."""
    still = (
        f"precision={precision}", "training.max_steps=4", "training.evaluations=4",
        "training.learning_rate=1e-30", "training.head_learning_rate=1e-30",
    )  # fmt: skip
    logits: list[list[torch.Tensor]] = []
    original = Base.decode

    def listening(self, given, lengths):
        rows = zip(given.float(), lengths.tolist(), strict=True)
        logits[-1] += [row[:length].clone() for row, length in rows]
        return original(self, given, lengths)

    records = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Base, "decode", listening)
        for name, settings in (("whole", UPPER), ("cached", CACHED)):
            logits.append([])
            records.append(train(data, quick(taught, *settings, *still), tmp_path / name))
    assert len(logits[0]) == len(logits[1]) == 5 * 6
    for whole, cached in zip(*logits, strict=True):
        if precision == "fp32":
            assert torch.equal(whole, cached)
        else:
            assert torch.allclose(whole, cached, atol=0.05, rtol=0.02)
    scores = [(r.base_dev_wer, r.base_dev_cer, r.best_dev_wer) for r in records]
    assert scores[0] == scores[1]
    assert records[0].base_dev_wer > 0


def test_a_cached_run_never_computes_the_lower_blocks_of_dev_again(taught, data, tmp_path):
    train(data, quick(taught, *CACHED, "training.max_steps=2"), tmp_path / "one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prefix, "compute", lambda *given: pytest.fail("computed again"))
        patch.setattr(Base, "collate", lambda *given: pytest.fail("features were read"))
        train(data, quick(taught, *CACHED, "training.max_steps=2"), tmp_path / "two")


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
    # Dev has no part in the augmentation, nor in what train's audio is.
    assert len(caches(data, "dev")) == (2 if changed in ("cut", "base") else 1)


def test_a_cache_depends_on_what_the_folders_of_noise_and_rooms_hold(taught, data, tmp_path):
    few = (*CACHED, *all_of(tmp_path), "training.cached_copies=2", "training.max_steps=2")
    train(data, quick(taught, *few), tmp_path / "one")
    shutil.copytree(tmp_path / "noise", tmp_path / "moved")
    moved = f"augment.noise={tmp_path / 'moved'}"
    train(data, quick(taught, *few, moved), tmp_path / "two")
    assert "is used again" in notes(tmp_path / "two")[0]
    assert len(caches(data)) == 1
    (tmp_path / "moved" / "hum.wav").unlink()
    train(data, quick(taught, *few, moved), tmp_path / "three")
    assert len(caches(data)) == 2
    louder = "augment.noise_snr_db=[0, 1]"
    train(data, quick(taught, *few, moved, louder), tmp_path / "four")
    assert len(caches(data)) == 3
    assert len(caches(data, "dev")) == 1


def test_copies_are_those_that_the_first_epochs_hear_without_a_cache(taught, data, tmp_path):
    """A whole first epoch from copy 0, with noise, rooms and lines, learns what it would."""
    places = (*all_of(tmp_path), "training.max_epochs=2", "training.speed_perturbation=true")
    train(data, quick(taught, *UPPER[:1], *places), tmp_path / "whole")
    cached = (*CACHED[:1], "training.cached_prefix=true", "training.cached_copies=2")
    train(data, quick(taught, *cached, *places), tmp_path / "cached")
    losses = [losses_of(tmp_path / name) for name in ("whole", "cached")]
    assert len(losses[0]) >= 4
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


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
        (("augment.telephone=true",), "augment.telephone changes the input anew in every step"),
        (("training.cache_gb=1e-6",), "cache_gb allows"),
        (("training.dropout=true",), "set training.dropout=false|drops other units"),
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
    train(data, quick(taught, *CACHED, "fast=off"), tmp_path / "plain")
    # Which the rewritten blocks do not do.
    twice = (*CACHED, "training.activation_checkpointing=true")
    train(data, quick(taught, *twice), tmp_path / "twice")
    one, two = weights(tmp_path / "plain"), weights(tmp_path / "twice")
    assert all(torch.equal(one[key], two[key]) for key in one)
