"""What a dry run expects, held against what the training then measures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.train.conftest import FAST, quick
from tpactl.bases.load import load_base
from tpactl.errors import MachineError
from tpactl.formats.run import Run
from tpactl.train import rehearsal
from tpactl.train.batch_size import largest_batch_s
from tpactl.train.estimate import estimate
from tpactl.train.train import train

QUICK = [part for override in FAST for part in ("--set", override)]


def in_a_process_of_its_own(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tpactl", "train", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


CACHED = ("adapter.blocks=upper-half", "training.cached_prefix=true", "training.cached_copies=2")


@pytest.mark.parametrize("settings", [(), CACHED], ids=["whole", "cached"])
def test_the_estimate_of_memory_is_within_15_percent_of_the_measured_peak(
    settings, accent, tmp_path
):
    """On the starter; ``tests.bench.memory_estimate`` does it for other data and devices."""
    data = shutil.copytree(accent, tmp_path / "data")
    flags = ["--data", data, "--device", "cpu", "--max-steps", 4]
    for setting in ("training.evaluations=1", *settings):
        flags += ["--set", setting]
    expected = in_a_process_of_its_own(*flags, "--dry-run")
    measured = in_a_process_of_its_own(*flags, "--out", tmp_path / "run")
    wanted = expected["wanted"]
    assert wanted["memory_bytes"] == pytest.approx(measured["peak_memory_bytes"], rel=0.15)
    assert wanted["trained_parameters"] == measured["trained_parameters"]
    assert wanted["steps"] == measured["steps"]
    assert expected["full"]["trained_parameters"] == measured["base_parameters"]
    assert expected["full"]["memory_bytes"] > wanted["memory_bytes"]


def test_steps_are_tried_in_the_precision_that_the_training_would_choose(
    taught, accent, monkeypatch
):
    tried = []
    choose = rehearsal.choose
    monkeypatch.setattr(rehearsal, "choose_precision", lambda device, wanted: "bf16")
    monkeypatch.setattr(
        rehearsal, "choose", lambda *a, **k: tried.append(a[2].precision) or choose(*a, **k)
    )
    config = quick(taught)
    assert config.precision == "auto"
    estimate(accent, config)
    assert tried == ["bf16", "bf16"]


def test_a_dry_run_writes_nothing_and_tells_money_and_full_fine_tuning(
    tpactl, taught, accent, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ["train", "--data", accent, "--base", taught, *QUICK, "--dry-run",
               "--set", "training.price_per_hour=36", "--set", "training.currency=EUR"]  # fmt: skip
    told = tpactl(*command, "--json").json
    for method in ("wanted", "full"):
        assert told[method]["money"] == pytest.approx(told[method]["seconds"] / 100)
        assert told[method]["fits"]
    assert told["full"]["trained_parameters"] == told["base_parameters"]
    assert told["currency"] == "EUR"
    shown = tpactl(*command)
    assert shown.exit_code == 0, shown.err
    for part in ("tpa", "full", "peak memory", "EUR", "at most"):
        assert part in shown.out
    assert list(tmp_path.iterdir()) == []


def test_the_size_of_a_cached_prefix_is_told_and_nothing_of_it_written(
    tpactl, taught, accent, tmp_path
):
    data = shutil.copytree(accent, tmp_path / "data")
    command = ["train", "--data", data, "--base", taught, *QUICK]
    for setting in ("adapter.blocks=[2]", "training.speed_perturbation=true", *CACHED[1:]):
        command += ["--set", setting]
    told = tpactl(*command, "--dry-run", "--json").json
    assert told["full"]["cache_bytes"] == 0
    assert told["wanted"]["seconds"] > 0
    shown = tpactl(*command, "--dry-run")
    assert f"{told['wanted']['cache_bytes'] / 1e9:.2g} GB" in shown.out
    assert not (data / "prefix").exists()
    run = ["--max-steps", 2, "--set", "training.evaluations=1", "--out", tmp_path / "run"]
    assert tpactl(*command, *run).exit_code == 0
    kept = sum(file.stat().st_size for file in (data / "prefix").glob("*/frames.*"))
    assert told["wanted"]["cache_bytes"] == pytest.approx(kept, rel=0.05)


def test_a_dry_run_refuses_a_cache_as_the_training_would(tpactl, taught, accent):
    command = ["train", "--data", accent, "--base", taught, "--device", "cpu", "--dry-run"]
    for setting in ("training.cached_prefix=true", "adapter.blocks=[2]"):
        command += ["--set", setting]
    done = tpactl(*command)
    assert done.exit_code == 2
    assert "training.speed_perturbation change the input anew in every step" in done.err
    done = tpactl(*command, "--set", "training.cached_copies=2", "--set", "training.cache_gb=1e-6")
    assert done.exit_code == 2
    assert "training.cache_gb allows" in done.err
    assert not (accent / "prefix").exists()


def test_a_dry_run_leaves_the_base_and_its_adapters_as_they_were(taught, accent):
    from tpactl.formats.dataset import DataSet
    from tpactl.train.batch_size import resolve
    from tpactl.train.examples import list_split
    from tpactl.train.rehearsal import rehearse

    base = load_base(str(taught))
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    splits = [list_split(base, DataSet(accent), s, limit_bytes=0) for s in ("train", "dev")]
    for method in ("tpa", "full"):
        config = resolve(base, quick(taught, f"method={method}"), *splits, "cpu")
        assert rehearse(base, config, *splits, "cpu").step_s > 0
    after = base.model.state_dict()
    assert len(before) > 100
    assert all((after[name] == tensor).all() for name, tensor in before.items())
    assert base.active_adapter is None


def test_a_raw_folder_is_refused_with_the_command_that_prepares_it(tpactl, tmp_path):
    done = tpactl("train", "--data", tmp_path, "--dry-run")
    assert done.exit_code == 3
    assert f"tpactl prepare {tmp_path} --out data" in done.err


def test_without_dry_run_a_place_for_the_run_is_needed(tpactl):
    done = tpactl("train", "--data", "data")
    assert done.exit_code == 2
    assert "missing option --out" in done.err


def test_auto_is_the_default_on_a_cpu(taught, accent, tmp_path):
    config = quick(taught, "training.batch_s=auto", "training.max_steps=1")
    train(accent, config, tmp_path / "run")
    assert Run(tmp_path / "run").record.config.training.batch_s == 15


@pytest.mark.parametrize(
    ("memory", "found"), [(100, 60), (59, 30), (479, 240), (10_000, 480), (8, 7.5)]
)
def test_the_batch_grows_and_shrinks_by_halves_until_it_fits(memory, found):
    tried = []

    def fits(batch_s):
        tried.append(batch_s)
        return batch_s <= memory

    assert largest_batch_s(60, 500, fits) == found
    assert len(tried) == len(set(tried))


def test_a_device_that_no_batch_fits_is_an_error():
    with pytest.raises(MachineError, match="no batch fits"):
        largest_batch_s(60, 500, lambda batch_s: False)
