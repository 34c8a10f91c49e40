"""Step 3 of the starter recipe: train the base on shards that ``speech.py`` is still writing.

Reads shards, the real recordings of ``--real`` and, for the log only, test sets; writes ``--out``
(weights and configuration), again and again, the last time when ``--seconds`` are over. It wants a
GPU with 80 GB; on a CPU it runs too, for a trial. README.md says what the released weights took.

    python pretrain.py --shards shards --real SPEECH/general/train --out trained --seconds 1080
    python pretrain.py --shards shards --real SPEECH/general/train --out trial --tiny --max-steps 5

The loss is CTC per character. Training starts on short, lightly distorted utterances; once the loss
is below 1, SpecAugment, changes of tempo and the strong distortions of ``acoustics.py`` begin.
"""

from __future__ import annotations

import argparse
import math
import queue
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from acoustics import distort
from architecture import (
    BLANK_ID,
    CHARACTERS,
    HOP_LENGTH,
    TINY_SHAPE,
    Shape,
    build_model,
    greedy_text,
    write_weights,
)
from features import WARPS, LogMel, spec_augment
from network import TrainingForward, capture_graphs, prepare_for_training
from pool import (
    BUCKET_EDGES_S,
    AudioPool,
    Batch,
    BucketShape,
    Sampler,
    Utterance,
    bucket_shapes,
    encoder_frames,
)
from torch import Tensor
from torch.nn import functional
from transformers import ParakeetForCTC

SYNTHETIC, REAL = "synthetic", "real"
CURRICULUM = ((0.035, 2), (0.07, 4))
"""(until this share of the time, no longer bucket than this)."""
STRONG_BELOW_LOSS = 1.0
STRONG_SHARE = 0.6  # of the batches after that; the others stay lightly distorted
DROPOUT = 0.05
WEIGHT_DECAY = 0.01
AVERAGE_DECAY = 0.998
SPIKE, SPIKES_AFTER = 6.0, 300
"""A gradient norm above the first is a bad batch after so many steps; ordinary ones are below 1."""
LOG_EVERY = 100  # steps


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and substitutions between two sequences."""
    code = {item: index for index, item in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    found = np.array([code[item] for item in hypothesis], dtype=np.int64)
    offsets = np.arange(len(found) + 1)
    row = offsets.copy()
    for i, item in enumerate(reference, 1):
        best = np.concatenate(([i], np.minimum(row[1:] + 1, row[:-1] + (found != code[item]))))
        row = np.minimum.accumulate(best - offsets) + offsets  # insertions
    return int(row[-1])


class Averaged:
    """Exponential moving average of a model's weights and buffers."""

    def __init__(self, model: ParakeetForCTC, shape: Shape) -> None:
        self.model = build_model(shape).to(next(model.parameters()).device).eval()
        self.model.load_state_dict(model.state_dict())
        prepare_for_training(self.model)
        self._pairs = [
            (mine, theirs)
            for mine, theirs in zip(
                self.model.state_dict().values(), model.state_dict().values(), strict=True
            )
            if mine.is_floating_point()
        ]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move towards the model's present weights."""
        torch._foreach_lerp_(
            [mine for mine, _ in self._pairs], [theirs for _, theirs in self._pairs], 1.0 - decay
        )


class Evaluator:
    """Greedy word and character error rates on groups of the pool, for the log."""

    def __init__(self, pool: AudioPool, log_mel: LogMel, groups: Sequence[str]) -> None:
        self._pool, self._log_mel, self._groups = pool, log_mel, groups

    @torch.no_grad()
    def __call__(self, model: ParakeetForCTC) -> str:
        """Return one line with WER/CER in percent for every group."""
        forward = TrainingForward(model).eval()
        results = []
        for group in self._groups:
            utterances = sorted(
                self._pool.utterances[group], key=lambda utterance: utterance.num_samples
            )
            word_errors = words = character_errors = characters = 0
            for first in range(0, len(utterances), 64):
                for reference, hypothesis in self._read(forward, utterances[first : first + 64]):
                    word_errors += edit_distance(reference.split(), hypothesis.split())
                    words += len(reference.split())
                    character_errors += edit_distance(reference, hypothesis)
                    characters += len(reference)
            if words:
                wer, cer = 100 * word_errors / words, 100 * character_errors / characters
                results.append(f"{group} {wer:.1f}/{cer:.1f}")
        return "  ".join(results)

    def _read(self, forward: TrainingForward, utterances: list[Utterance]) -> list[tuple[str, str]]:
        device = self._pool.device
        lengths = torch.tensor([utterance.num_samples for utterance in utterances], device=device)
        starts = torch.tensor([utterance.start for utterance in utterances], device=device)
        num_samples = math.ceil(int(lengths.max()) / HOP_LENGTH) * HOP_LENGTH
        waves = self._pool.waves(
            starts, lengths, lengths, torch.ones(len(utterances), device=device), num_samples
        )
        features, mask, counts = self._log_mel(waves, lengths)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = forward(features, mask, counts).float().cpu()
        frames = encoder_frames(counts).tolist()
        return [
            (
                "".join(CHARACTERS[label] for label in utterance.labels),
                greedy_text(logits[row], frames[row]),
            )
            for row, utterance in enumerate(utterances)
        ]


@dataclass
class Progress:
    """What the thread that draws batches must know of the training."""

    last_bucket: int = len(BUCKET_EDGES_S) - 1
    strong: bool = False
    is_over: bool = False


def feed(sampler: Sampler, batches: queue.Queue[Batch], progress: Progress) -> None:
    """Draw batches until training is over."""
    while not progress.is_over:
        try:
            batch = sampler.draw(progress.last_bucket, vary_tempo=progress.strong)
        except (ValueError, IndexError) as failure:  # shards are still scarce
            print(f"no batch yet: {failure!r}", flush=True)
            time.sleep(1.0)
            continue
        while not progress.is_over:
            try:
                batches.put(batch, timeout=1.0)
                break
            except queue.Full:
                continue


def collect_shards(pool: AudioPool, folder: Path, delete: bool, progress: Progress) -> None:
    """Move new shards into the pool until training is over or the pool is full.

    A broken shard is skipped and named.
    """
    seen: set[Path] = set()
    while not progress.is_over:
        for path in sorted(set(folder.glob("train-*.npz")) - seen):
            seen.add(path)
            try:
                if not pool.add_shard(SYNTHETIC, path):
                    print(
                        f"pool full at {pool.hours(SYNTHETIC):.1f} h of synthetic speech",
                        flush=True,
                    )
                    return
            except (OSError, ValueError, KeyError) as failure:
                print(f"skipped {path.name}: {failure!r}", flush=True)
            if delete:
                path.unlink(missing_ok=True)
            if progress.is_over:
                return
        time.sleep(0.5)


class Trainer:
    """One model, its optimiser, and the step."""

    def __init__(
        self,
        model: ParakeetForCTC,
        pool: AudioPool,
        log_mel: LogMel,
        shapes: tuple[BucketShape, ...],
        peak_rate: float,
        warm_up_steps: int,
        use_graphs: bool,
    ) -> None:
        self._pool, self._log_mel, self._shapes, self._peak_rate = pool, log_mel, shapes, peak_rate
        self._device = pool.device
        self._warm_up_steps, self._steps = warm_up_steps, 0
        self._parameters = [
            parameter for parameter in model.parameters() if parameter.requires_grad
        ]
        self._forwards: list[torch.nn.Module] = [TrainingForward(model).train()] * len(shapes)
        if use_graphs:
            started = time.monotonic()
            self._forwards = capture_graphs(TrainingForward(model), shapes)
            reserved = torch.cuda.memory_reserved() / 2**30
            seconds = time.monotonic() - started
            print(
                f"{len(shapes)} graphs in {seconds:.0f} s, {reserved:.0f} GiB reserved",
                flush=True,
            )
        decay = [parameter for parameter in self._parameters if parameter.ndim > 1]
        rest = [parameter for parameter in self._parameters if parameter.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": WEIGHT_DECAY},
                {"params": rest, "weight_decay": 0.0},
            ],
            lr=peak_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    def step(
        self, batch: Batch, masked: bool, rate_share: float, strong: bool
    ) -> tuple[Tensor, Tensor]:
        """Take one step; return loss per character and gradient norm, both still on the device.

        ``masked`` adds SpecAugment and changes of tempo; only then can distortions be ``strong``.

        A step whose gradient is not finite, or a spike, changes nothing.
        """
        features, mask, counts = self._features(batch, masked, masked and strong)
        with torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False):
            logits = self._forwards[batch.bucket](features, mask, counts)
        log_probabilities = functional.log_softmax(logits.float(), -1).transpose(0, 1)
        labels = batch.labels.to(self._device, non_blocking=True)
        losses = functional.ctc_loss(
            log_probabilities,
            labels,
            batch.encoder_lengths,
            batch.label_lengths,
            blank=BLANK_ID,
            reduction="none",
            zero_infinity=True,
        )
        loss = losses.sum() / float(batch.label_lengths.sum())
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for group in self._optimizer.param_groups:
            group["lr"] = (
                self._peak_rate * rate_share * min(1.0, (self._steps + 1) / self._warm_up_steps)
            )
        self._optimizer.grad_scale = None
        limit = SPIKE if self._steps > SPIKES_AFTER else math.inf
        self._optimizer.found_inf = (~(norm < limit)).float()
        self._optimizer.step()
        self._steps += 1
        return loss.detach(), norm.detach()

    def slow_down(self) -> None:
        """Halve the learning rate for good, forget the optimiser's averages and warm up anew."""
        self._peak_rate /= 2
        self._steps = 0
        for state in self._optimizer.state.values():
            for value in state.values():
                value.zero_()

    @torch.no_grad()
    def _features(self, batch: Batch, masked: bool, strong: bool) -> tuple[Tensor, Tensor, Tensor]:
        def here(tensor: Tensor) -> Tensor:
            return tensor.to(self._device, non_blocking=True)

        shape = self._shapes[batch.bucket]
        lengths = here(batch.lengths)
        waves = self._pool.waves(
            here(batch.starts),
            here(batch.source_lengths),
            lengths,
            here(batch.speeds),
            shape.num_samples,
        )
        waves = distort(waves, lengths, strong)
        warp_index = torch.randint(0, len(WARPS), (shape.batch,), device=self._device)
        tempo = here(batch.tempos) if masked else None
        features, mask, counts = self._log_mel(waves, lengths, warp_index, tempo, shape.num_frames)
        features = features.nan_to_num(0.0, 0.0, 0.0)
        return (spec_augment(features, counts) if masked else features), mask, counts


class Guard:
    """Takes training back when it has blown up: to the last good weights, at half the rate."""

    SNAPSHOT_EVERY = 400  # steps
    BLOWN_UP = 1.25  # times the loss of the last good stretch

    def __init__(self, model: ParakeetForCTC, averaged: Averaged, trainer: Trainer) -> None:
        self._models, self._trainer = (model, averaged.model), trainer
        self._good_loss = math.inf
        self._good_step = 0
        self._snapshots = self._copy()

    def _copy(self) -> list[dict[str, Tensor]]:
        return [
            {name: t.clone() for name, t in model.state_dict().items()} for model in self._models
        ]

    def start_over(self) -> None:
        """Forget what loss was good: the task has become harder."""
        self._good_loss = math.inf

    def check(self, step: int, loss: float) -> None:
        """Compare the last stretch's mean ``loss`` with the one before; go back, or remember."""
        if not loss < self._good_loss * self.BLOWN_UP:
            print(
                f"loss {loss:.3f} after {self._good_loss:.3f}: "
                f"back to step {self._good_step}, half the rate",
                flush=True,
            )
            for model, snapshot in zip(self._models, self._snapshots, strict=True):
                model.load_state_dict(snapshot)
            self._trainer.slow_down()
            return
        self._good_loss = loss
        if step - self._good_step >= self.SNAPSHOT_EVERY:
            self._snapshots, self._good_step = self._copy(), step


def rate_share(elapsed_share: float) -> float:
    """Return the learning rate's share of its peak: a cosine in time that ends at zero."""
    return 0.5 * (1 + math.cos(math.pi * max(0.0, elapsed_share - 0.05) / 0.95))


def parse() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument(
        "--real", type=Path, required=True, help="folder of real recordings with metadata.csv"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--init", type=Path, help="model directory to go on from; the strong stage begins at once"
    )
    parser.add_argument(
        "--heldout", type=Path, help="shard of unheard synthetic voices, for the log"
    )
    parser.add_argument(
        "--watch", type=Path, nargs="*", default=[], help="folders of test recordings, for the log"
    )
    parser.add_argument(
        "--watch-limit", type=int, default=100, help="utterances of each watched folder"
    )
    parser.add_argument(
        "--no-graphs", action="store_true", help="run the network without CUDA graphs"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=1080.0,
        help="length of the training; while it runs, OUT.seconds overrides it",
    )
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--save-every-s", type=float, default=60.0)
    parser.add_argument("--min-hours", type=float, default=1.5, help="synthetic speech to wait for")
    parser.add_argument("--pool-hours", type=float, default=230.0)
    parser.add_argument("--batch-s", type=float, default=400.0, help="audio in a batch")
    parser.add_argument("--peak-rate", type=float, default=1.5e-3)
    parser.add_argument("--warm-up-steps", type=int, default=600)
    parser.add_argument("--real-share", type=float, default=0.18)
    parser.add_argument(
        "--delete-shards", action="store_true", help="delete each shard once it is in memory"
    )
    parser.add_argument("--tiny", action="store_true", help="a trial with a tiny network and batch")
    return parser.parse_args()


def main() -> None:
    """Train, log and save."""
    arguments = parse()
    started = time.monotonic()
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = (
        True  # not for matrix products: see network.py on rounding noise
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = TINY_SHAPE if arguments.tiny else Shape()
    model = build_model(shape, DROPOUT).to(device)
    if arguments.init:
        model.load_state_dict(
            ParakeetForCTC.from_pretrained(arguments.init, dtype=torch.float32).state_dict()
        )
    prepare_for_training(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}", flush=True)

    pool = AudioPool(
        min(arguments.pool_hours, 4.0) if arguments.tiny else arguments.pool_hours, device
    )
    log_mel = LogMel(device)
    progress = Progress(strong=arguments.init is not None)
    pool.add_folder(REAL, arguments.real, limit=40 if arguments.tiny else None)
    watched = []
    if arguments.heldout:
        pool.add_shard("unheard", arguments.heldout)
        watched.append("unheard")
    for folder in arguments.watch:
        watched.append(f"{folder.parent.name}/{folder.name}")
        pool.add_folder(watched[-1], folder, limit=8 if arguments.tiny else arguments.watch_limit)
    print(
        f"real {pool.hours(REAL):.2f} h, "
        + ", ".join(f"{group} {pool.hours(group):.2f} h" for group in watched)
    )

    shapes = bucket_shapes(60.0 if arguments.tiny else arguments.batch_s)
    use_graphs = device.type == "cuda" and not arguments.no_graphs
    trainer = Trainer(
        model, pool, log_mel, shapes, arguments.peak_rate, arguments.warm_up_steps, use_graphs
    )
    averaged = Averaged(model, shape)
    evaluate = Evaluator(pool, log_mel, watched)
    # Only now: a copy from another thread would break the capture of the graphs.
    threading.Thread(
        target=collect_shards,
        args=(pool, arguments.shards, arguments.delete_shards, progress),
        daemon=True,
    ).start()
    while pool.hours(SYNTHETIC) < min(arguments.min_hours, 0.01 if arguments.tiny else 1e9):
        time.sleep(0.2)
    batches: queue.Queue[Batch] = queue.Queue(6)
    sampler = Sampler(pool, shapes, SYNTHETIC, REAL, arguments.real_share, seed=0)
    threading.Thread(target=feed, args=(sampler, batches, progress), daemon=True).start()
    print(
        f"start after {time.monotonic() - started:.0f} s, "
        f"{pool.hours(SYNTHETIC):.1f} h of synthetic speech",
        flush=True,
    )

    new_length = arguments.out.with_suffix(".seconds")
    if not arguments.init:
        progress.last_bucket = CURRICULUM[0][1]
    guard = Guard(model, averaged, trainer)
    begun = last_saved = last_logged = time.monotonic()
    noise_rng = random.Random(0)
    step, seen_s, losses, norms = 0, 0.0, [], []
    while step < arguments.max_steps:
        if step % LOG_EVERY == 0 and new_length.exists():
            arguments.seconds = float(new_length.read_text())
        elapsed_share = (time.monotonic() - begun) / arguments.seconds
        if elapsed_share >= 1.0:
            break
        if not arguments.init:
            longest = len(BUCKET_EDGES_S) - 1
            progress.last_bucket = next(
                (b for until, b in CURRICULUM if elapsed_share < until), longest
            )
        batch = batches.get()
        share = rate_share(elapsed_share)
        # A batch drawn before the strong stage has tempo 1: the stage may begin at any step.
        loss, norm = trainer.step(batch, progress.strong, share, noise_rng.random() < STRONG_SHARE)
        step += 1
        seen_s += float(batch.lengths.sum()) / 16_000
        losses.append(loss)
        norms.append(norm)
        if step % 4 == 0:
            averaged.update(min(AVERAGE_DECAY, step / (step + 100.0)) ** 4)
        if step % LOG_EVERY == 0 or step in (10, 30):
            mean_loss = torch.stack(losses).mean().item()
            now = time.monotonic()
            print(
                f"[{now - started:6.1f}] step {step} loss {mean_loss:.3f}"
                f" gradient {torch.stack(norms).mean().item():.2f}"
                f" rate {share * arguments.peak_rate:.1e}"
                f" {len(losses) / (now - last_logged):.1f} steps/s"
                f" seen {seen_s / 3600:.1f} h pool {pool.hours(SYNTHETIC):.1f} h"
                f" queue {batches.qsize()}",
                flush=True,
            )
            last_logged = now
            losses, norms = [], []
            if step % LOG_EVERY == 0:
                guard.check(step, mean_loss)
            if not progress.strong and mean_loss < STRONG_BELOW_LOSS:
                progress.strong = True
                guard.start_over()
                print("SpecAugment, tempo and strong distortions begin", flush=True)
        if time.monotonic() - last_saved > arguments.save_every_s:
            write_weights(averaged.model, arguments.out)
            print(
                f"[{time.monotonic() - started:6.1f}] EVAL step {step}: {evaluate(averaged.model)}",
                flush=True,
            )
            last_saved = last_logged = time.monotonic()

    progress.is_over = True
    write_weights(averaged.model, arguments.out)
    print(
        f"[{time.monotonic() - started:6.1f}] EVAL averaged, step {step}:"
        f" {evaluate(averaged.model)}",
        flush=True,
    )
    model.eval()
    print(f"[{time.monotonic() - started:6.1f}] EVAL last weights: {evaluate(model)}", flush=True)
    print(
        f"DONE {step} steps, {seen_s / 3600:.0f} h heard, {arguments.out}",
        flush=True,
    )


if __name__ == "__main__":
    main()
