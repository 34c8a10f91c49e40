"""How fast does a GPU train a TPA, against LoRA through PEFT and full fine-tuning?

python -m tests.bench.training_speed [--tiny] [--only NAME ...] [--product]

A Parakeet of 42 blocks of 1024, 1.1 billion random weights; 16 utterances of 20 s; a step is
forward, CTC loss, backward, clipping and AdamW. PEFT's LoRA (rank 32) and full fine-tuning run as
their users run them, in bfloat16 autocast, and LoRA also with its blocks compiled. The TPA (width
256) runs through the engine that `tpactl train` chooses, and for their users so do LoRA and full
fine-tuning in lines of their own. Beside each its floor: the matrix products
it cannot do without, at the rate that the device reaches on a large one.

`--product` also trains through `tpactl train`'s own loop on files of 4 to 30 s, loader, loss,
events and checkpoints included (as often as by default), and compares the audio a second with that
of the bare step: as it is, and with the padding counted that batches of unequal utterances cannot
do without.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch

from tpactl.adapters.attach import attach
from tpactl.adapters.prefix import Prefix
from tpactl.bases.base import Base, Features
from tpactl.bases.blocks import find_blocks
from tpactl.bases.families import FAMILIES
from tpactl.bases.load import load_base
from tpactl.bases.quiet import quiet
from tpactl.formats.adapter import LoRASettings, TPASettings
from tpactl.formats.dataset import DataSet
from tpactl.formats.run import Event, RunConfig, TrainingSettings
from tpactl.train.batches import Course
from tpactl.train.checkpoint import Checkpoints
from tpactl.train.ctc import ctc_loss
from tpactl.train.engine import Eager
from tpactl.train.events import Plan
from tpactl.train.faster import choose
from tpactl.train.optimizer import adamw
from tpactl.train.ranks import Ranks
from tpactl.train.schedule import plan_steps
from tpactl.train.trained import AdapterOnly, WholeModel

LABELS = 80
"""An utterance; the pieces of about 20 s of speech."""

WARM_UP = 3

PRODUCT_HOURS = 4.0
"""Of audio that ``tpactl train`` learns from."""

PRODUCT_EPOCHS = 60.0
"""For which its training is planned."""

PRODUCT_MINUTES = 2.5
"""After which it is cut short."""

Step = Callable[[], None]

quiet()


@dataclass(frozen=True)
class Size:
    """Of the model and its batch."""

    blocks: int = 42
    width: int = 1024
    rows: int = 16
    seconds: int = 20
    bottleneck: int = 256
    rank: int = 32
    steps: int = 20
    channels: int = 256


TINY = Size(blocks=4, width=16, rows=2, seconds=2, bottleneck=4, rank=2, steps=1, channels=4)


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--product", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    size = TINY if asked.tiny else Size()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate = _matrix_rate(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, {rate / 1e12:.0f} TFLOP/s in bfloat16, {size}\n")
    results: dict[str, dict[str, float]] = {}
    if asked.only != []:
        print("| system | ms a step | best | floor ms | peak reserved GB | parameters trained |")
        print("|---" * 6 + "|")
    for system, make in _systems(size, device).items():
        if asked.only is None or system in asked.only:
            results[system] = _measure(system, make, size, device, rate)
    _ratios(results)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))
    if asked.product:
        results["product"] = _product(results["TPA"], size, device)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))


def _matrix_rate(device: torch.device) -> float:
    side = 8192 if device.type == "cuda" else 512
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    seconds = _time(lambda: a @ a, 10, device)
    return 2 * side**3 / statistics.median(seconds)


def _time(step: Callable[[], Any], steps: int, device: torch.device) -> list[float]:
    taken = []
    for _ in range(steps + WARM_UP):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return taken[WARM_UP:]


def random_base(size: Size, device: torch.device) -> Base:
    """Return a Parakeet of ``size`` with random weights and the starter's processors."""
    from transformers import ParakeetCTCConfig, ParakeetEncoderConfig, ParakeetForCTC

    starter = load_base("starter")
    encoder = ParakeetEncoderConfig(
        hidden_size=size.width,
        num_hidden_layers=size.blocks,
        num_attention_heads=max(2, size.width // 128),
        intermediate_size=4 * size.width,
        attention_bias=False,
        convolution_bias=False,
        subsampling_factor=8,
        num_mel_bins=80,
        subsampling_conv_channels=size.channels,
        layerdrop=0.0,
    )
    config = ParakeetCTCConfig(
        encoder_config=encoder, vocab_size=starter.vocab_size, pad_token_id=starter.blank_id
    )
    torch.manual_seed(0)
    with device:
        model = ParakeetForCTC(config)
    model.to(device).eval().requires_grad_(False)
    family, blocks = find_blocks(model, FAMILIES)
    return Base(
        ref="random",
        path=starter.path,
        model=model,
        tokenizer=starter.tokenizer,
        feature_extractor=starter.feature_extractor,
        family=family,
        blocks=blocks,
    )


def _systems(size: Size, device: torch.device) -> dict[str, Callable[[], tuple[Base, Any, Step]]]:
    every = ["attention.q", "attention.k", "attention.v", "attention.o"]
    every += ["ffn1.in", "ffn1.out", "ffn2.in", "ffn2.out"]

    def lora(
        sites: list[str], compiled: bool = False, engine: bool = False
    ) -> tuple[Base, Any, Step]:
        base = random_base(size, device)
        settings = LoRASettings(r=size.rank, alpha=2.0 * size.rank, sites=sites)
        trained = AdapterOnly(base, attach(base, "lora", settings))
        if engine:
            return base, trained, _fast(base, trained, size, cached=False)
        if compiled:
            for block in base.blocks:
                block.module.compile(dynamic=False)
        return base, trained, _eager(base, trained, size)

    def tpa(blocks: str, *, cached: bool) -> tuple[Base, Any, Step]:
        base = random_base(size, device)
        settings = TPASettings(bottleneck_dim=size.bottleneck, blocks=blocks)
        trained = AdapterOnly(base, attach(base, "tpa", settings))
        return base, trained, _fast(base, trained, size, cached=cached)

    def full(engine: bool = False) -> tuple[Base, Any, Step]:
        base = random_base(size, device)
        trained = WholeModel(base, dropout=False)
        if engine:
            return base, trained, _fast(base, trained, size, cached=False)
        return base, trained, _eager(base, trained, size)

    def plain() -> tuple[Base, Any, Step]:
        base = random_base(size, device)
        adapter = attach(base, "tpa", TPASettings(bottleneck_dim=size.bottleneck))
        trained = AdapterOnly(base, adapter)
        return base, trained, _eager(base, trained, size)

    return {
        "LoRA, attention and feed-forward": lambda: lora(every),
        "LoRA, q and v": lambda: lora(["attention.q", "attention.v"]),
        "LoRA, attention and feed-forward, compiled": lambda: lora(every, compiled=True),
        "full": full,
        "tpactl's LoRA, attention and feed-forward": lambda: lora(every, engine=True),
        "full, by tpactl": lambda: full(engine=True),
        "TPA by hooks": plain,
        "TPA": lambda: tpa("all", cached=False),
        "TPA, upper half, cached": lambda: tpa("upper-half", cached=True),
        "TPA, upper quarter, cached": lambda: tpa("upper-quarter", cached=True),
    }


def _batch(base: Base, size: Size) -> tuple[Features, Callable[[torch.Tensor, Any], Any]]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(size.rows, 100 * size.seconds, 80, generator=generator)
    lengths = torch.full((size.rows,), inputs.shape[1])
    labels_each = min(LABELS, int(base.output_lengths(lengths)[0]) // 3)
    labels = torch.randint(0, base.blank_id, (size.rows * labels_each,), generator=generator)
    counts = torch.full((size.rows,), labels_each)

    def loss_of(logits: torch.Tensor, out_lengths: torch.Tensor) -> torch.Tensor:
        return ctc_loss(logits, out_lengths, labels, counts, base.blank_id, len(labels))

    return Features(inputs, lengths), loss_of


def _updates(trained: Any, engine: Any, inputs: Features, loss_of: Any) -> Step:
    optimizer = adamw(trained, TrainingSettings(learning_rate=1e-4, head_learning_rate=1e-4))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    trained.learning(True)

    def step() -> None:
        engine.add_gradients(inputs, loss_of)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=not engine.keeps_gradients)

    return step


def _autocast(device: torch.device) -> Callable[[], Any]:
    return lambda: torch.autocast(device.type, torch.bfloat16)


def _eager(base: Base, trained: Any, size: Size) -> Step:
    inputs, loss_of = _batch(base, size)
    on_device = Features(inputs.inputs.to(base.device), inputs.lengths)
    engine = Eager(base.forward, base.output_lengths, base.device, _autocast(base.device))
    return _updates(trained, engine, on_device, loss_of)


class _Rows:
    """Stands for a split of equal utterances."""

    def __init__(self, inputs: Features, seconds: float) -> None:
        self._inputs = inputs
        self.durations = [seconds] * len(inputs.lengths)

    def features(self, batch: list[int], speeds: Any = None) -> list[torch.Tensor]:
        return [self._inputs.inputs[i].cpu() for i in batch]


def _fast(base: Base, trained: Any, size: Size, *, cached: bool) -> Step:
    inputs, loss_of = _batch(base, size)
    train: Any = _Rows(inputs, size.seconds)
    cache: Any = None
    given = Features(inputs.inputs.to(base.device), inputs.lengths)
    if cached:
        prefix = Prefix(base, trained.adapter)
        with torch.autocast(base.device.type, torch.bfloat16):
            hidden = prefix.compute(given)
        frames = hidden.frames.shape[1]
        store = SimpleNamespace(num_frames=lambda batch, epoch: [frames] * len(batch))
        cache = SimpleNamespace(cut=prefix, cache=store)
        given = Features(hidden.frames.to(torch.bfloat16), hidden.lengths)
    settings = TrainingSettings(speed_perturbation=False, learning_rate=1e-4)
    engine = choose(
        base,
        trained,
        RunConfig(training=settings, precision="bf16"),
        train,
        Course(
            train.durations,
            batch_s=size.seconds * size.rows,
            seed=0,
            max_epochs=5000,
            max_steps=None,
        ),
        cached=cache,
        ranks=Ranks(0, 1, str(base.device)),
        autocast=_autocast(base.device),
        may_round=True,
        note=lambda message: print(f"<!-- {message} -->"),
    )
    return _updates(trained, engine, given, loss_of)


def _measure(
    name: str, make: Any, size: Size, device: torch.device, rate: float
) -> dict[str, float]:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    base, trained, step = make()
    started = time.perf_counter()
    step()
    first = time.perf_counter() - started
    seconds = _time(step, size.steps, device)
    reserved = torch.cuda.max_memory_reserved() / 1e9 if device.type == "cuda" else 0.0
    floor = _floor_flops(name, base, size) / rate
    row = {
        "median_ms": statistics.median(seconds) * 1e3,
        "best_ms": min(seconds) * 1e3,
        "floor_ms": floor * 1e3,
        "reserved_gb": reserved,
        "trained": trained.num_parameters,
        "first_s": first,
    }
    print(
        f"| {name} | {row['median_ms']:.1f} | {row['best_ms']:.1f} | {row['floor_ms']:.1f} "
        f"| {reserved:.1f} | {row['trained']:,} |",
        flush=True,
    )
    return row


def _floor_flops(name: str, base: Base, size: Size) -> float:
    """Return the FLOPs of the matrix products with weights: forward, and backward where needed."""
    frames = size.rows * int(base.output_lengths(torch.tensor([100 * size.seconds]))[0])
    block = sum(p.numel() for p in base.blocks[0].module.parameters() if p.dim() > 1)
    share = {"TPA, upper half, cached": 0.5, "TPA, upper quarter, cached": 0.25}.get(name, 1.0)
    passes = 3 if name.startswith("full") else 2
    return 2.0 * frames * block * size.blocks * share * passes


def _ratios(results: dict[str, dict[str, float]]) -> None:
    print("\n| against | system | times as fast |")
    print("|---" * 3 + "|")
    for against in [name for name in results if name.startswith("LoRA")]:
        for name in [name for name in results if name.startswith("TPA")]:
            ratio = results[against]["median_ms"] / results[name]["median_ms"]
            print(f"| {against} | {name} | {ratio:.2f} |")


def _product(bare: dict[str, float], size: Size, device: torch.device) -> dict[str, float]:
    """Train through the loop of `tpactl train` and compare with the bare step."""
    from tpactl.prepare.prepare import prepare
    from tpactl.train.train import train

    started = time.perf_counter()
    gc.collect()
    torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _noise(place / "raw", hours=0.02 if size is TINY else PRODUCT_HOURS)
        prepare(place / "raw", place / "data")
        durations = [row.duration for row in DataSet(place / "data").utterances("train")]
        starter = load_base("starter")
        base = random_base(size, device)
        base.model.to(torch.bfloat16).save_pretrained(place / "base")
        starter.tokenizer.save_pretrained(place / "base")
        starter.feature_extractor.save_pretrained(place / "base")
        del base
        gc.collect()
        torch.cuda.empty_cache()
        steps: list[tuple[float, float]] = []
        notes: list[str] = []
        saves: list[tuple[float, float]] = []
        began: list[float] = []

        def note(event: Event, plan: Plan) -> None:
            if not began:
                began.append(time.perf_counter() - event.time_s)
            if event.kind == "step":
                steps.append((event.time_s, event.audio_s or 0.0))
            elif event.kind == "note":
                notes.append(f"{event.time_s:.0f} s: {event.message}")

        save = Checkpoints.save

        def timed_save(*given: Any, **named: Any) -> None:
            at = time.perf_counter()
            save(*given, **named)
            saves.append((at - began[0], time.perf_counter() - at))

        print(f"<!-- data and base written after {time.perf_counter() - started:.0f} s -->")
        # The steps of a long training, whose shapes are planned for all of them, cut short.
        training = TrainingSettings(
            batch_s=float(size.rows * size.seconds),
            max_epochs=3.0 if size is TINY else PRODUCT_EPOCHS,
            max_minutes=PRODUCT_MINUTES,
            evaluations=1,
            learning_rate=1e-4,
            head_learning_rate=1e-4,
            checkpoint_minutes=0.0001 if size is TINY else 0.8,
            speed_perturbation=False,
        )
        with mock.patch.object(Checkpoints, "save", timed_save):
            record = train(
                place / "data",
                RunConfig(
                    base=str(place / "base"),
                    adapter=TPASettings(bottleneck_dim=size.bottleneck),
                    training=training,
                    device=device.type,
                ),
                place / "run",
                on_event=note,
            )
    # Capturing is over after two thirds of the time.
    ends = steps[-1][0]
    later = [step for step in steps if step[0] > 2 / 3 * ends]
    begin, end = later[0][0], later[-1][0]
    # Checkpoints come more often here than in a training; each costs what it costs there.
    saving = sum(seconds for at, seconds in saves if begin < at < end)
    each = statistics.median(seconds for _, seconds in saves) if saves else 0.0
    share_saving = each / (60 * TrainingSettings().checkpoint_minutes)
    took = (end - begin - saving) * (1 + share_saving)
    speech = sum(audio for _, audio in later[1:]) / took
    paces = sorted(1e3 * (b[0] - a[0]) for a, b in itertools.pairwise(later))
    course, _ = plan_steps(durations, record.config.training)
    batches = [course[step][1] for step in range(len(course))]
    padded = sum(len(batch) * max(durations[i] for i in batch) for batch in batches)
    share = sum(durations[i] for batch in batches for i in batch) / padded
    alone = size.rows * size.seconds / (bare["median_ms"] / 1e3)
    print(f"\nnotes: {notes}")
    print(f"{len(steps)} steps of {len(course)}, {record.cost.seconds:.0f} s in all")
    print(f"a checkpoint takes {each:.1f} s, {100 * share_saving:.1f} % of the time at its default")
    print(f"steps begin {paces[len(paces) // 2]:.0f} ms apart (median), ", end="")
    print(f"{paces[9 * len(paces) // 10]:.0f} ms (nine in ten), {paces[-1]:.0f} ms at most")
    print(f"bare step {alone:.0f} s of audio a second, through train {speech:.0f}")
    print(f"slower by {100 * (alone / speech - 1):.1f} %", end="; ")
    print(f"padding counted by {100 * (alone * share / speech - 1):.1f} %")
    return {
        "bare": alone,
        "train": speech,
        "checkpoint_s": each,
        "speech_share": share,
        "peak_gb": record.cost.peak_memory_bytes / 1e9,
    }


def _noise(folder: Path, hours: float) -> None:
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows, left, index = ["file_name,transcription,speaker"], hours * 3600, 0
    while left > 0:
        seconds = float(draw.uniform(4, 30))
        samples = draw.normal(0, 0.05, int(16_000 * seconds)).astype(np.float32)
        soundfile.write(folder / f"{index}.wav", samples, 16_000)
        words = " ".join(draw.choice(["one", "two", "three", "four"], int(seconds * 0.7) + 1))
        rows.append(f"{index}.wav,{words} {index % 10 * 'a'}{index % 26 * 'b'},s{index % 40}")
        left -= seconds
        index += 1
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
