"""Transducers learn: a random one its department, an adapter on it another accent."""

from __future__ import annotations

import json

import pytest
import torch

from tests.models import TRANSDUCERS, tiny_base
from tests.train.conftest import quick
from tpactl.bases.load import load_base
from tpactl.errors import UsageError
from tpactl.train.train import train

TEACH = (
    "method=full", "training.max_epochs=60", "training.learning_rate=1e-2",
    "training.head_learning_rate=1e-2", "training.dropout=false",
)  # fmt: skip


def losses_of(run):
    lines = (run / "events.jsonl").read_text().splitlines()
    return [event["loss"] for event in map(json.loads, lines) if event["kind"] == "step"]


@pytest.fixture(scope="module")
def taught_transducer(tones, tmp_path_factory):
    """A TDT that recognises ``tones``."""
    folder = tmp_path_factory.mktemp("transducer")
    record = train(
        tones, quick(tiny_base(folder / "random", "parakeet-tdt"), *TEACH), folder / "run"
    )
    assert record.base_dev_wer == 1.0
    assert record.best_dev_wer < 0.7
    return folder / "run" / "model"


def test_an_adapter_and_the_head_learn_an_accent(taught_transducer, accent, tmp_path):
    before = load_base(str(taught_transducer)).identity.digest
    record = train(accent, quick(taught_transducer), tmp_path / "run")
    assert record.best_dev_wer < record.base_dev_wer - 0.2
    assert record.cost.head_parameters == 35 * 13
    assert load_base(str(taught_transducer)).identity.digest == before


def test_on_a_cached_prefix_the_loss_is_that_of_the_whole_way(taught_transducer, accent, tmp_path):
    """In float32 what is kept was rounded to bfloat16, and nothing else differs."""
    losses = {}
    for name, cached in {"whole": "false", "kept": "true"}.items():
        config = quick(
            taught_transducer, "adapter.blocks=[2]", "decoder=[decoder, joint]",
            "training.max_steps=4", f"training.cached_prefix={cached}",
        )  # fmt: skip
        train(accent, config, tmp_path / name)
        losses[name] = losses_of(tmp_path / name)
    assert losses["kept"] == pytest.approx(losses["whole"], rel=0.02)


@pytest.mark.parametrize("family", TRANSDUCERS)
def test_a_part_at_a_time_it_is_the_same_training(family, accent, tmp_path):
    base = tiny_base(tmp_path / "base", family)
    states = []
    for parts in (1, 3):
        config = quick(
            base, "training.max_steps=3", f"training.accumulate={parts}", "adapter.dropout=0"
        )
        train(accent, config, tmp_path / f"run-{parts}")
        states.append(losses_of(tmp_path / f"run-{parts}"))
    assert states[0] == pytest.approx(states[1], rel=1e-3)
    assert states[0][2] < states[0][0]


def test_in_bf16_it_learns_too(taught_transducer, accent, tmp_path):
    record = train(
        accent,
        quick(taught_transducer, "precision=bf16", "decoder=none", "training.max_epochs=15"),
        tmp_path / "run",
    )
    assert record.best_dev_wer < record.base_dev_wer


@pytest.mark.skipif(torch.cuda.is_available(), reason="graphs are looked at where there are any")
def test_the_fast_path_is_refused_where_it_is_asked_for(taught_transducer, accent, tmp_path):
    with pytest.raises(UsageError, match="the loss of a transducer") as caught:
        train(accent, quick(taught_transducer, "fast=on"), tmp_path / "run")
    assert caught.value.fix == "set fast=auto"
