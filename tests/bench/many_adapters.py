"""Sixteen departments, one utterance each: in shared batches against one adapter at a time.

python -m tests.bench.many_adapters [--device cpu|cuda] [--large] [--dtype float32|bfloat16]

Both hear the same utterances with the same adapters, in turn within one run, greedy decoding
included; features are computed before. Batches are those that ``transcribe`` and ``eval`` make:
all sixteen on a GPU, fewer of the longer ones on a CPU. One at a time is a batch of one under each
adapter in turn. The aim is 3 times as fast. What batching can give at all on this machine is shown
beside it: the base alone on the same utterances, one by one against in batches. ``--large`` is a
random Parakeet of 24 blocks of 1024 (0.6 billion parameters); the transcripts are noise, the
arithmetic is the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tpactl.adapters.attach import activate, attach
from tpactl.adapters.together import Together
from tpactl.bases.base import Base
from tpactl.bases.blocks import find_blocks
from tpactl.bases.families import FAMILIES
from tpactl.bases.load import load_base
from tpactl.bases.recognise import BATCH_S, CPU_BATCH_S, plan_batches, recognise_features
from tpactl.formats.adapter import TPASettings

DEPARTMENTS = 16
BOTTLENECK_DIM = {False: 64, True: 256}
ROUNDS = 7
DURATIONS_S = ((0.5, 1.5), (2.0, 4.0), (4.0, 7.0))
"""Of the utterances; each range is a row."""


def main() -> None:
    """Print a Markdown table."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--device", default="cpu")
    asked.add_argument("--large", action="store_true")
    asked.add_argument("--dtype", default="float32")
    given = asked.parse_args()
    dtype = getattr(torch, given.dtype)
    base = load_base("starter", device=given.device, dtype=dtype)
    if given.large:
        base = _large(base)
    where = f"{torch.get_num_threads()} threads"
    if base.device.type == "cuda":
        where = torch.cuda.get_device_name(base.device)
    print(
        f"{len(base.blocks)} blocks of {base.d_model}, {base.num_parameters / 1e6:.0f} million "
        f"parameters, {given.dtype}, {where}; {DEPARTMENTS} adapters of width "
        f"{BOTTLENECK_DIM[given.large]}; medians of {ROUNDS}\n"
    )
    print(
        "| utterances | one at a time ms | together ms | ratio | base alone: ratio | "
        "largest difference of logits | texts differ |"
    )
    print("|---" * 7 + "|")
    adapters = _adapters(base, BOTTLENECK_DIM[given.large])
    for shortest, longest in DURATIONS_S:
        print("| " + " | ".join(_row(base, adapters, shortest, longest)) + " |", flush=True)


def _large(starter: Base) -> Base:
    from transformers import ParakeetCTCConfig, ParakeetEncoderConfig, ParakeetForCTC

    encoder = ParakeetEncoderConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=8, intermediate_size=4096
    )
    config = ParakeetCTCConfig(
        encoder_config=encoder, vocab_size=starter.vocab_size, pad_token_id=starter.blank_id
    )
    torch.manual_seed(0)
    with starter.device:
        model = ParakeetForCTC(config).to(starter.dtype).eval().requires_grad_(False)
    family, blocks = find_blocks(model, FAMILIES)
    return Base(
        ref="random",
        path=Path("random"),
        model=model,
        tokenizer=starter.tokenizer,
        feature_extractor=starter.feature_extractor,
        family=family,
        blocks=blocks,
    )


@torch.no_grad()
def _adapters(base: Base, bottleneck_dim: int) -> list:
    settings = TPASettings(bottleneck_dim=bottleneck_dim)
    adapters = [
        attach(base, "tpa", settings, name=str(n), seed=n).eval().requires_grad_(False)
        for n in range(DEPARTMENTS)
    ]
    activate(base, None)
    for adapter in adapters:
        for tensor in adapter.parameters():
            tensor.add_(0.02 * torch.randn_like(tensor))
    return adapters


@torch.inference_mode()
def _row(base: Base, adapters: list, shortest: float, longest: float) -> list[str]:
    draw = np.random.default_rng(0)
    samples = (draw.uniform(shortest, longest, len(adapters)) * 16_000).astype(int)
    inputs = [base.extract(draw.normal(0, 0.05, n).astype(np.float32)) for n in samples]
    together = Together(base, adapters)
    assert not together.alone, together.alone

    def one_at_a_time(use: list) -> list[str]:
        texts = []
        for adapter, row in zip(use, inputs, strict=True):
            activate(base, adapter)
            texts += recognise_features(base, base.collate([row]))
        activate(base, None)
        return texts

    batch_s = CPU_BATCH_S if base.device.type == "cpu" else BATCH_S
    batches = plan_batches([n / 16_000 for n in samples], batch_s)

    def in_batches(use: list) -> list[str]:
        texts = [""] * len(use)
        for batch in batches:
            features = base.collate([inputs[place] for place in batch])
            heard = together.recognise(features, [use[place] for place in batch])
            for place, text in zip(batch, heard, strict=True):
                texts[place] = text
        return texts

    ours, theirs, ratio = _compare(in_batches, one_at_a_time, adapters)
    *_, ceiling = _compare(in_batches, one_at_a_time, [None] * len(adapters))
    differing = sum(
        a != b for a, b in zip(one_at_a_time(adapters), in_batches(adapters), strict=True)
    )
    return [
        f"{shortest:g}-{longest:g} s",
        f"{1000 * theirs:.1f}",
        f"{1000 * ours:.1f}",
        f"{ratio:.2f}",
        f"{ceiling:.2f}",
        f"{_largest_difference(base, together, adapters, inputs):.1e}",
        f"{differing} of {len(adapters)}",
    ]


def _compare(
    ours: Callable[[list], list[str]], theirs: Callable[[list], list[str]], use: list
) -> tuple[float, float, float]:
    """Return the seconds of each and how often ours goes into theirs, medians."""
    seconds: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 2):
        times = []
        for run in (ours, theirs):
            started = time.perf_counter()
            run(use)  # ends with texts, so nothing is left to wait for on an accelerator
            times.append(time.perf_counter() - started)
        seconds.append((times[0], times[1]))
    measured = seconds[2:]  # the first rounds warm up
    return (
        statistics.median(a for a, _ in measured),
        statistics.median(b for _, b in measured),
        statistics.median(b / a for a, b in measured),
    )


def _largest_difference(base: Base, together: Together, adapters: list, inputs: list) -> float:
    batched, lengths = together.logits(base.collate(inputs), adapters)
    largest = 0.0
    for place, (adapter, row) in enumerate(zip(adapters, inputs, strict=True)):
        activate(base, adapter)
        alone, _ = base.logits(base.collate([row]))
        length = int(lengths[place])
        gap = (batched[place, :length] - alone[0, :length].float()).abs().max()
        largest = max(largest, float(gap))
    activate(base, None)
    return largest


if __name__ == "__main__":
    main()
