"""What do base and two adapters together cost, where what they share is computed once?

python -m tests.bench.shared_prefix [BASE] [DATA]

The aim: at most 1.1 times the shared part plus three times the unshared part, for adapters in all
blocks, the upper half and the upper quarter. Both parts are measured in the same run, in turn with
the whole: the shared part is the features and the base's way up to the lowest adapted block, the
unshared part what a system computes above it, by itself. Without DATA the audio is noise of 2 to
12 seconds.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tpactl.adapters.attach import activate, attach
from tpactl.audio.decode import decode
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.bases.recognise import plan_batches, recognise_features
from tpactl.eval.turns import Turns, _Kept
from tpactl.formats.adapter import TPASettings
from tpactl.formats.dataset import DataSet

ROUNDS = 5
BATCH_S = 40.0
PLACES = ("all", "upper-half", "upper-quarter")


def main() -> None:
    """Print a Markdown table."""
    base = load_base(sys.argv[1] if len(sys.argv) > 1 else "starter")
    batches = _batches(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    audio_s = sum(len(wave) for batch in batches for wave in batch) / 16_000
    print(f"{base.ref}, {audio_s:.0f} s of audio, {torch.get_num_threads()} threads, medians\n")
    print(
        "| blocks | features s | shared s | unshared s | three separately s | together s | share |"
    )
    print("|---" * 7 + "|")
    for blocks in PLACES:
        print("| " + " | ".join(_row(base, blocks, batches)) + " |", flush=True)


def _batches(data: Path | None) -> list[list[np.ndarray]]:
    if data is None:
        draw = np.random.default_rng(0)
        lengths = (draw.uniform(2, 12, 12) * 16_000).astype(int)
        waves = [draw.normal(0, 0.05, n).astype(np.float32) for n in lengths]
    else:
        held = DataSet(data)
        waves = [decode(held.audio_path(row)).samples for row in held.utterances("test")]
    plan = plan_batches([len(wave) / 16_000 for wave in waves], BATCH_S)
    return [[waves[index] for index in batch] for batch in plan]


@torch.inference_mode()
def _row(base: Base, blocks: str, batches: list[list[np.ndarray]]) -> list[str]:
    adapters = {
        name: attach(base, "tpa", TPASettings(bottleneck_dim=32, blocks=blocks), name=name)
        for name in ("first", "second")
    }
    for adapter in adapters.values():
        for tensor in adapter.parameters():
            tensor.add_(0.01 * torch.randn_like(tensor))
    turns = Turns(base, {"base": None, **adapters})
    cut = turns._cuts["first"]
    seen: dict[str, list[float]] = {key: [] for key in ("f", "shared", "unshared", "apart", "all")}
    for number in range(ROUNDS + 1):
        round_s = dict.fromkeys(seen, 0.0)
        for waves in batches:
            for key, seconds in _measure(base, turns, adapters, cut, waves).items():
                round_s[key] += seconds
        if number:  # the first round warms up
            for key, seconds in round_s.items():
                seen[key].append(seconds)
    f, shared, unshared, apart, together = (statistics.median(seen[key]) for key in seen)
    share = statistics.median(
        t / (f + s + 3 * u)
        for t, f, s, u in zip(seen["all"], seen["f"], seen["shared"], seen["unshared"], strict=True)
    )
    figures = [f"{value:.2f}" for value in (f, shared, unshared, apart, together, share)]
    return [f"{blocks} (from {cut} of {len(base.blocks)})", *figures]


def _measure(base: Base, turns: Turns, adapters: dict, cut: int, waves: list) -> dict[str, float]:
    clock = time.perf_counter
    started = clock()
    features = base.features(waves)
    features_s = clock() - started

    # The parts, by themselves: up to the cut, and from it.
    kept = _Kept()
    turns._logits(None, features, kept)
    shared_s = kept.seconds[cut]
    started = clock()
    logits, lengths = turns._logits(adapters["first"], features, kept)
    base.decode(logits, lengths)
    unshared_s = clock() - started

    started = clock()
    base.features(waves)
    turns.take(features)
    together_s = clock() - started

    started = clock()
    for adapter in (None, *adapters.values()):
        activate(base, adapter)
        recognise_features(base, base.features(waves))
    activate(base, None)
    apart_s = clock() - started
    return {
        "f": features_s,
        "shared": shared_s,
        "unshared": unshared_s,
        "apart": apart_s,
        "all": together_s,
    }


if __name__ == "__main__":
    main()
