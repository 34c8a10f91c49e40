"""Audio hours an hour: eval's recognition against transformers' own ASR pipeline.

python -m tests.bench.pipeline [BASE] [DATA] [DEVICE] [BATCH]

Both recognise the same samples with the same weights in fp32, on the same device, with the same
number of utterances in a batch, in turn within one run; both start from samples in memory. The
pipeline takes utterances in the order it is given them, as its users do; the texts must be equal
but for what padding does to rounding. The aim is twice the pipeline's rate.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tpactl.audio.decode import decode
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.bases.quiet import quiet
from tpactl.bases.recognise import recognise_features
from tpactl.formats.dataset import DataSet
from tpactl.scoring.wer import count_characters, rate

ROUNDS = 3


def main() -> None:
    """Print both rates and their ratio."""
    quiet()
    from transformers import AutomaticSpeechRecognitionPipeline

    given = dict(enumerate(sys.argv[1:]))
    base = load_base(given.get(0, "starter"), device=given.get(2, "cpu"))
    waves = _waves(Path(given[1]) if 1 in given else None)
    batch = int(given.get(3, 8))
    audio_s = sum(map(len, waves)) / 16_000
    pipeline = AutomaticSpeechRecognitionPipeline(
        model=base.model,
        feature_extractor=base.feature_extractor,
        tokenizer=base.tokenizer,
        device=base.device,
    )
    ours, theirs, shares = [], [], []
    for number in range(ROUNDS + 1):
        started = time.perf_counter()
        texts = _ours(base, waves, batch)
        ours_s = time.perf_counter() - started
        started = time.perf_counter()
        heard = [out["text"] for out in pipeline([w.copy() for w in waves], batch_size=batch)]
        theirs_s = time.perf_counter() - started
        if number:  # the first round warms up
            ours.append(audio_s / ours_s)
            theirs.append(audio_s / theirs_s)
            shares.append(theirs_s / ours_s)
    differing = rate(count_characters(heard, texts))
    print(
        f"{base.ref}, {len(waves)} utterances, {audio_s:.0f} s, {base.device}, batch {batch}, "
        f"{torch.get_num_threads()} threads\n"
        f"tpactl eval          {statistics.median(ours):8.1f} audio hours an hour\n"
        f"transformers pipeline{statistics.median(theirs):8.1f} audio hours an hour\n"
        f"ratio                {statistics.median(shares):8.2f}\n"
        f"texts differ in      {100 * differing:8.2f} % of characters"
    )


def _waves(data: Path | None) -> list[np.ndarray]:
    if data is None:
        draw = np.random.default_rng(0)
        lengths = (draw.uniform(2, 20, 32) * 16_000).astype(int)
        return [draw.normal(0, 0.05, n).astype(np.float32) for n in lengths]
    held = DataSet(data)
    return [decode(held.audio_path(row)).samples for row in held.utterances("test")]


def _ours(base: Base, waves: list[np.ndarray], batch: int) -> list[str]:
    order = sorted(range(len(waves)), key=lambda index: -len(waves[index]))
    texts = [""] * len(waves)
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        heard = recognise_features(base, base.features([waves[index] for index in indices]))
        for index, text in zip(indices, heard, strict=True):
            texts[index] = text
    return texts


if __name__ == "__main__":
    main()
