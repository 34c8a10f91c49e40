"""Audio hours an hour: eval's recognition against transformers' own ASR pipeline.

python -m tests.bench.pipeline [BASE] [DATA] [DEVICE] [BATCH] [ROUNDS]

Both recognise the same samples with the same weights in fp32 on the same device, with all threads
of torch (``OMP_NUM_THREADS``) and at most BATCH utterances in a batch, in turn within one run; both
start from samples in memory. The pipeline takes utterances in the order it is given them, as its
users do. tpactl sorts them by duration and, on a CPU, hears batches of at most 30 s side by side,
one a core. The texts must be equal but for what padding does to rounding. The aim is twice the
pipeline's rate. BATCH 1 is the pipeline's own default.

CPU seconds are counted too: wall time on a machine that others use says little of idle ones.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tpactl.audio.decode import decode
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.bases.quiet import quiet
from tpactl.bases.recognise import BATCH_S, CPU_BATCH_S, plan_batches, recognise_features
from tpactl.bases.side_by_side import side_by_side, twins
from tpactl.formats.dataset import DataSet
from tpactl.scoring.wer import count_characters, rate

RATE = 16_000


@dataclass
class Clock:
    """What each round took."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def time(self, recognise: Callable[[], list[str]]) -> list[str]:
        """Return what ``recognise`` returns, and note its time."""
        wall, cpu = time.perf_counter(), time.process_time()
        texts = recognise()
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)
        return texts


def main() -> None:
    """Print both rates and their ratio."""
    quiet()
    from transformers import AutomaticSpeechRecognitionPipeline

    given = dict(enumerate(sys.argv[1:]))
    base = load_base(given.get(0, "starter"), device=given.get(2, "cpu"))
    waves = _waves(Path(given[1]) if given.get(1) else None)
    batch, rounds = int(given.get(3, 8)), int(given.get(4, 3))
    audio_s = sum(map(len, waves)) / RATE
    pipeline = AutomaticSpeechRecognitionPipeline(
        model=base.model,
        feature_extractor=base.feature_extractor,
        tokenizer=base.tokenizer,
        device=base.device,
    )
    workers = twins(base)
    ours, theirs = Clock(), Clock()
    for number in range(rounds + 1):
        if number == 1:  # the first round warms up
            ours, theirs = Clock(), Clock()
        texts = ours.time(lambda: _ours(workers, waves, batch))
        heard = theirs.time(
            lambda: [out["text"] for out in pipeline([w.copy() for w in waves], batch_size=batch)]
        )
    differing = rate(count_characters(heard, texts))
    print(
        f"{base.ref}, {len(waves)} utterances, {audio_s:.0f} s, {base.device}, batch {batch}, "
        f"{torch.get_num_threads()} threads\n"
        f"tpactl eval          {audio_s / statistics.median(ours.wall_s):8.1f} hours an hour\n"
        f"transformers pipeline{audio_s / statistics.median(theirs.wall_s):8.1f} hours an hour\n"
        f"ratio                {_ratio(theirs.wall_s, ours.wall_s)}\n"
        f"ratio of CPU time    {_ratio(theirs.cpu_s, ours.cpu_s)}\n"
        f"texts differ in      {100 * differing:8.2f} % of characters"
    )


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> str:
    shares = [a / b for a, b in zip(theirs, ours, strict=True)]
    return f"{statistics.median(shares):8.2f} ({min(shares):.2f} to {max(shares):.2f})"


def _waves(data: Path | None) -> list[np.ndarray]:
    if data is None:
        draw = np.random.default_rng(0)
        lengths = (draw.uniform(2, 20, 32) * RATE).astype(int)
        return [draw.normal(0, 0.05, n).astype(np.float32) for n in lengths]
    held = DataSet(data)
    return [decode(held.audio_path(row)).samples for row in held.utterances("test")]


def _ours(workers: Sequence[Base], waves: list[np.ndarray], most: int) -> list[str]:
    """Return the texts as ``eval`` finds them, with ``most`` utterances a batch."""
    longest_s = CPU_BATCH_S if workers[0].device.type == "cpu" else BATCH_S
    planned = plan_batches([len(wave) / RATE for wave in waves], longest_s)
    plan = [batch[n : n + most] for batch in planned for n in range(0, len(batch), most)]

    def hear(base: Base, batch: list[int]) -> list[str]:
        return recognise_features(base, base.features([waves[index] for index in batch]))

    texts = [""] * len(waves)
    # As eval does: one worker, which an accelerator has, needs no thread.
    found = (
        side_by_side(workers, hear, plan)
        if len(workers) > 1
        else (hear(workers[0], batch) for batch in plan)
    )
    for batch, heard in zip(plan, found, strict=True):
        for index, text in zip(batch, heard, strict=True):
            texts[index] = text
    return texts


if __name__ == "__main__":
    main()
