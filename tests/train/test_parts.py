"""The same training in less memory: batches in parts, blocks computed twice."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.train.conftest import quick
from tpactl.train.batches import shares
from tpactl.train.memory import Pass, parts_that_fit
from tpactl.train.train import train

STEPS = ("training.max_steps=10", "training.evaluations=2", "training.spec_augment=true")


def trained(run):
    return load_file(next(run.glob("*/*.safetensors")))


def losses(run):
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if event["kind"] == "step"]


@pytest.mark.parametrize("method", ["tpa", "full"])
def test_a_batch_in_parts_gives_the_result_of_the_whole_batch(method, taught, accent, tmp_path):
    # Dropout draws anew for each part.
    dropout = ["training.dropout=false"] + (["adapter.dropout=0"] if method == "tpa" else [])
    for parts in (1, 2, 5):
        config = quick(taught, *STEPS, *dropout, f"method={method}", f"training.accumulate={parts}")
        train(accent, config, tmp_path / str(parts))
    whole = trained(tmp_path / "1")
    for parts in ("2", "5"):
        assert losses(tmp_path / parts) == pytest.approx(losses(tmp_path / "1"), rel=1e-3)
        others = trained(tmp_path / parts)
        assert len(others) == len(whole)
        for name, tensor in others.items():
            # The softmax cancels a bias on all keys: its gradient is rounding noise.
            if not name.endswith("k_proj.bias"):
                assert torch.allclose(tensor, whole[name], atol=2e-3), name


@pytest.mark.parametrize("method", ["tpa", "full"])
def test_blocks_computed_twice_give_the_same_weights_bit_for_bit(
    method, taught, accent, tmp_path, monkeypatch
):
    seen = []
    run_block = torch.utils.checkpoint.checkpoint
    monkeypatch.setattr(
        "tpactl.train.recompute.checkpoint", lambda *a, **k: seen.append(1) or run_block(*a, **k)
    )
    tpa = ["adapter.dropout=0.2", "adapter.input=residual"]
    shape = tpa if method == "tpa" else ["training.dropout=true"]
    for wanted in (False, True):
        config = quick(
            taught, *STEPS, *shape, f"method={method}",
            f"training.activation_checkpointing={wanted}",
        )  # fmt: skip
        train(accent, config, tmp_path / str(wanted))
    assert len(seen) == 10 * 3
    kept, twice = trained(tmp_path / "False"), trained(tmp_path / "True")
    assert all(torch.equal(kept[name], twice[name]) for name in kept)


def test_every_utterance_is_in_one_part_and_neighbours_in_different_ones():
    assert shares(7, 3) == [[0, 3, 6], [1, 4], [2, 5]]
    assert shares(1, 2) == [[0], []]


def test_the_parts_that_fit_follow_from_the_memory_a_second_of_audio_takes():
    measured = [Pass(10, 3_000), Pass(60, 8_000)]  # 2000 and 100 a second
    # 90 % of 10000 leaves 7000: 70 seconds a pass.
    assert parts_that_fit(measured, 240, 1, 10_000) == 4
    assert parts_that_fit(measured, 240, 2, 10_000) == 7
    assert parts_that_fit(measured, 60, 1, 10_000) == 2
    assert parts_that_fit([Pass(0, 3_000)], 240, 1, 10_000) == 2
    assert parts_that_fit(measured, 60, 1, 1_000) == 2
