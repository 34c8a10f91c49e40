"""The low-resource study: sizes of data x methods x seeds, many small trainings side by side.

    python examples/low_resource.py DATA OUT [--general DATA] [--jobs 14] [--minutes 8]
    python examples/low_resource.py --table OUT [--plot FILE.png]

DATA is a prepared data set whose test split is the held-out test (`tpactl prepare FOLDER
--test-from dev`). Each training is one of `tpactl train`'s own; the smaller sizes are whole
speakers, drawn by the seed. The best step is chosen, and learning rates are compared, on the
dev split; the test split is looked at for the table alone. Finished trainings are lines of
OUT/study.jsonl, and a second call goes on where the first ended. On one GPU the trainings share it
(start NVIDIA's MPS first).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tpactl.adapters import store
from tpactl.adapters.attach import activate
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.formats.dataset import DataSet
from tpactl.train.augment import SPEEDS
from tpactl.train.dev import measure
from tpactl.train.examples import Example, FeatureStore, Split, list_split
from tpactl.train.reading import Material
from tpactl.train.settings import read
from tpactl.train.train import train

HOURS: dict[str, float | None] = {"10 min": 1 / 6, "30 min": 0.5, "1 h": 1.0, "all": None}

METHODS = {
    "full": ("method=full",),
    "TPA, width 256": ("method=tpa", "adapter.bottleneck_dim=256"),
    "TPA, width 80": ("method=tpa", "adapter.bottleneck_dim=80"),
    # As many parameters as the TPA of width 256, and of width 80.
    "LoRA, rank 46": ("method=lora", "lora.r=46"),
    "LoRA, rank 14": ("method=lora", "lora.r=14"),
    "houlsby": ("method=houlsby",),
    "TPA, upper half": ("method=tpa", "adapter.bottleneck_dim=80", "adapter.blocks=upper-half"),
    "head": ("method=head",),
}
"""With the defaults of their amount of data, but for the width."""


def _shape(*more: str, width: int = 80) -> tuple[str, ...]:
    return ("method=tpa", f"adapter.bottleneck_dim={width}", *more)


SHAPES = {
    "TPA, input before the norm": _shape("adapter.input=residual"),
    "TPA, ReLU": _shape("adapter.activation=relu"),
    "TPA, scale 2": _shape("adapter.scale=2", "training.learning_rate=3e-3"),
    "TPA, scale 4": _shape("adapter.scale=4", "training.learning_rate=2e-3"),
    "TPA, scale learned": _shape("adapter.scale=learned"),
    "TPA, width 128": _shape(width=128),
    "TPA, width 128, scale 4": _shape("adapter.scale=4", "training.learning_rate=2e-3", width=128),
    "TPA, width 256, decay 0.3": _shape("training.weight_decay=0.3", width=256),
    "TPA, width 256, scale 4": _shape("adapter.scale=4", "training.learning_rate=2e-3", width=256),
}
"""The TPA of width 80 with one thing other than its default, the rest as for its amount of data."""


def _tpa(rate: float, decay: float = 0.0, dropout: float = 0.0, **shape: Any) -> tuple[str, ...]:
    settings = {"bottleneck_dim": 80, "dropout": dropout, **shape}
    return (
        "method=tpa",
        f"training.learning_rate={rate}",
        f"training.weight_decay={decay}",
        *(f"adapter.{key}={value}" for key, value in settings.items()),
    )


def _lora(*more: str) -> tuple[str, ...]:
    return ("method=lora", "lora.r=12", "training.learning_rate=2e-3", *more)


BASE_DROPOUT = "training.dropout=true"
VARIANTS = {
    "TPA, not regularised": _tpa(4e-3),
    "TPA, no SpecAugment": (*_tpa(1e-3, scale=4), "training.spec_augment=false"),
    "TPA, width 64": _tpa(4e-3, bottleneck_dim=64),
    "TPA, scale 4, rate 1e-3": _tpa(1e-3, scale=4),
    "TPA, scale 4, rate 2e-3": _tpa(2e-3, scale=4),
    "TPA, scale 8, rate 1e-3": _tpa(1e-3, scale=8),
    "TPA, learned scale": _tpa(4e-3, scale="learned"),
    "TPA, ReLU, scale 4, rate 2e-3": _tpa(2e-3, scale=4, activation="relu"),
    "TPA, batches of 30 s": (*_tpa(1e-3, scale=4), "training.batch_s=30"),
    "TPA, residual input": _tpa(2e-3, input="residual"),
    "TPA, dropout of the base": (*_tpa(4e-3), BASE_DROPOUT),
    "TPA, dropout 0.1": _tpa(4e-3, dropout=0.1),
    "TPA, both dropouts": (*_tpa(4e-3, dropout=0.1), BASE_DROPOUT),
    "TPA, residual input, dropout of the base": (*_tpa(2e-3, input="residual"), BASE_DROPOUT),
    "TPA, decay 0.1": _tpa(4e-3, 0.1),
    "TPA, decay 0.1, dropout 0.1": _tpa(4e-3, 0.1, 0.1),
    "TPA, decay 0.1, rate 8e-3": _tpa(8e-3, 0.1),
    "TPA, decay 0.3": _tpa(4e-3, 0.3),
    "TPA, decay 0.3, dropout 0.1": _tpa(4e-3, 0.3, 0.1),
    "TPA, decay 0.3, dropout 0.1, width 64": _tpa(4e-3, 0.3, 0.1, bottleneck_dim=64),
    "TPA, decay 0.3, residual input": _tpa(2e-3, 0.3, input="residual"),
    "TPA, decay 1, rate 8e-3": _tpa(8e-3, 1.0),
    "LoRA, no dropout": _lora("training.dropout=false"),
    "LoRA, dropout of the base": _lora(BASE_DROPOUT),
    "LoRA, decay 0.3": _lora("training.dropout=false", "training.weight_decay=0.3"),
    "full, rate 1e-3": ("method=full", "training.learning_rate=1e-3"),
    "full, decay 0.1": ("method=full", "training.weight_decay=0.1"),
}
"""Everything spelled out that the defaults might change; by the epochs of their amount of data."""


@dataclass(frozen=True)
class Job:
    """One training."""

    name: str
    settings: tuple[str, ...]
    size: str
    seed: int

    @property
    def folder(self) -> str:
        """Name of its run."""
        words = f"{self.name} {self.size} {self.seed}".replace(",", "").replace(".", "")
        return words.replace(" ", "-")


def jobs(seeds: int) -> list[Job]:
    """Return all trainings, the longest first."""
    return [
        Job(name, settings, size, seed)
        for size in reversed(HOURS)
        for seed in range(seeds)
        for name, settings in {**METHODS, **SHAPES, **VARIANTS}.items()
    ]


class Known(FeatureStore):
    """Features that were computed before the processes parted."""

    def __init__(self, base: Base, features: dict[tuple[int, float], np.ndarray]) -> None:
        super().__init__(base, [], 0, readers=1)
        self._features = features

    def get(self, index: int, speed: float = 1.0) -> torch.Tensor:
        """Return the features of one utterance, played at ``speed``."""
        return torch.from_numpy(self._features[index, speed])

    def select(self, indices: Sequence[int]) -> Known:
        """Return a store of these utterances alone."""
        place = {old: new for new, old in enumerate(indices)}
        features = {
            (place[index], speed): value
            for (index, speed), value in self._features.items()
            if index in place
        }
        return Known(self._base, features)


@dataclass
class Heard:
    """A split's examples and features, shared by all processes."""

    examples: list[Example]
    features: dict[tuple[int, float], np.ndarray]

    def split(self, base: Base) -> Split:
        """Return it for ``base``."""
        return Split(self.examples, Known(base, self.features))


_STORE: Any = None


def _extract(key: tuple[int, float]) -> tuple[tuple[int, float], np.ndarray]:
    return key, _STORE.get(*key).numpy()


def hear(base: Base, data: DataSet, splits: Sequence[str], speeds: Sequence[float]) -> Heard:
    """Compute the features of ``splits``, on all cores."""
    global _STORE
    examples = [e for s in splits for e in list_split(base, data, s, limit_bytes=0).examples]
    _STORE = FeatureStore(base, [example.path for example in examples], 0, readers=1)
    keys = [(index, speed) for index in range(len(examples)) for speed in speeds]
    with multiprocessing.Pool() as pool:
        features = dict(pool.imap_unordered(_extract, keys, chunksize=16))
    return Heard(examples, features)


def usable(heard: Heard, base: Base) -> list[int]:
    """Return the positions of what CTC can align at every speed."""
    kept = []
    for index, example in enumerate(heard.examples):
        shortest = min(len(heard.features[index, speed]) for speed in SPEEDS)
        frames = int(base.output_lengths(torch.tensor([shortest]))[0])
        repeats = int((example.labels[1:] == example.labels[:-1]).sum())
        if 0 < len(example.labels) + repeats <= frames:
            kept.append(index)
    return kept


def subset(
    examples: Sequence[Example], speakers: Sequence[str | None], hours: float | None, seed: int
) -> list[int]:
    """Return the utterances of speakers drawn one after the other until ``hours`` are reached."""
    if hours is None:
        return list(range(len(examples)))
    order = sorted({speaker or "" for speaker in speakers})
    np.random.default_rng(seed).shuffle(order)
    chosen: list[int] = []
    left = hours * 3600
    for speaker in order:
        for index, other in enumerate(speakers):
            if (other or "") == speaker and left > 0:
                chosen.append(index)
                left -= examples[index].duration_s
    return sorted(chosen)


@dataclass
class Study:
    """What all processes share."""

    data: DataSet
    train: Heard
    speakers: list[str | None]
    dev: Heard
    test: Heard
    general: Heard | None
    out: Path
    device: str
    until: float
    overrides: list[str]


def work(study: Study, queue: Any, gpu: int) -> None:
    """Take jobs from ``queue`` until it is empty or the time is up."""
    os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    base: Base | None = None
    while time.time() < study.until:
        job = queue.get()
        if job is None:
            return
        if base is None or job.name.startswith("full"):
            base = load_base("starter", device=study.device)
        try:
            line = run(study, base, job)
        except Exception:
            line = {"name": job.name, "error": traceback.format_exc()[-1500:]}
        if job.name.startswith("full"):
            base = None
        with (study.out / "study.jsonl").open("a") as file:
            file.write(json.dumps({**line, "size": job.size, "seed": job.seed}) + "\n")


def run(study: Study, base: Base, job: Job) -> dict[str, Any]:
    """Train ``job`` and measure what came of it."""
    whole = study.train.split(base)
    part = whole.select(subset(whole.examples, study.speakers, HOURS[job.size], job.seed))
    material = Material(base, part, study.dev.split(base), [])
    overrides = [*job.settings, f"training.seed={job.seed}", f"device={study.device}"]
    overrides += study.overrides
    config = read(None, {"base": "starter"}, overrides)
    out = study.out / "runs" / job.folder
    started = time.time()
    record = train(study.data.folder, config, out, force=True, material=material)
    if job.settings[0] == "method=full":
        tested = load_base(str(out / "model"), device=study.device)
    else:
        tested = base
        activate(base, store.load(base, out / "adapter"))
    score = measure(tested, study.test.split(tested), batch_s=240)
    forgot = study.general and measure(tested, study.general.split(tested), batch_s=240)
    activate(tested, None)
    # What stays: runs of METHODS on all data, of the first seed.
    if not (job.name in METHODS and job.size == "all" and job.seed == 0):
        shutil.rmtree(out)
    return {
        "name": job.name,
        "hours": sum(part.durations) / 3600,
        "trained": record.cost.trained_parameters,
        "dev_wer": record.best_dev_wer,
        "wer": score.wer,
        "cer": score.cer,
        "general_wer": forgot.wer if forgot else None,
        "seconds": record.cost.seconds,
        "steps": record.cost.steps,
        "best_step": record.best_step,
        "peak_memory_bytes": record.cost.peak_memory_bytes,
        "took_s": time.time() - started,
    }


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--plot", type=Path, help="with --table; FILE-light and FILE-dark")
    parser.add_argument("--general", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1e4)
    parser.add_argument("--only", nargs="*", help="names of METHODS, SHAPES or VARIANTS")
    parser.add_argument("--sizes", nargs="*", choices=HOURS, default=list(HOURS))
    parser.add_argument("--set", nargs="*", default=[], help="for every training")
    asked = parser.parse_args()
    if asked.table:
        print(table(asked.table))
        if asked.plot:
            for scheme in ("light", "dark"):
                plot(asked.table, asked.plot.with_stem(f"{asked.plot.stem}-{scheme}"), scheme)
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    # A fork has no more threads than the one that made it, and waits for the others for ever.
    torch.set_num_threads(1)
    until = time.time() + 60 * asked.minutes
    todo = [job for job in jobs(asked.seeds) if job.size in asked.sizes]
    todo = [job for job in todo if not asked.only or job.name in asked.only]
    done = {(d["name"], d["size"], d["seed"]) for d in _lines(asked.out) if "wer" in d}
    todo = [job for job in todo if (job.name, job.size, job.seed) not in done]
    base = load_base("starter")
    data = DataSet(asked.data)
    heard = hear(base, data, ["train"], SPEEDS)
    kept = usable(heard, base)
    rows = data.utterances("train")
    place = {old: new for new, old in enumerate(kept)}
    heard = Heard(
        [heard.examples[i] for i in kept],
        {(place[i], s): f for (i, s), f in heard.features.items() if i in place},
    )
    gpus = list(Path("/dev").glob("nvidia[0-9]*"))
    study = Study(
        data=data,
        train=heard,
        speakers=[rows[i].speaker for i in kept],
        dev=hear(base, data, ["dev"], [1.0]),
        test=hear(base, data, ["test"], [1.0]),
        general=(
            hear(base, DataSet(asked.general), ["train", "dev", "test"], [1.0])
            if asked.general
            else None
        ),
        out=asked.out,
        # Asked without CUDA's being started, which a fork would not survive.
        device="cuda" if torch.version.cuda and gpus else "cpu",
        until=until,
        overrides=asked.set,
    )
    print(f"{len(todo)} trainings to do, features after {time.process_time():.0f} s", flush=True)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    for job in [*todo, *[None] * asked.jobs]:
        queue.put(job)
    workers = [
        context.Process(target=work, args=(study, queue, number % max(1, len(gpus))))
        for number in range(asked.jobs)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(max(0.1, until - time.time()))
    for worker in workers:
        worker.kill()
    queue.cancel_join_thread()
    print(table(asked.out))


def _lines(out: Path) -> list[dict[str, Any]]:
    file = out / "study.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _measured(out: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the trainings that were measured, by name and size."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for line in _lines(out):
        if "wer" in line:
            found.setdefault(line["name"], {}).setdefault(line["size"], []).append(line)
    return found


def table(out: Path) -> str:
    """Return a Markdown table: mean test WER and, of several seeds, their range."""
    found = _measured(out)
    head = "| system | " + " | ".join(HOURS) + " | general | trained | seconds |"
    text = [head, "|---" * (len(HOURS) + 4) + "|"]
    for name, sizes in found.items():
        cells = [_cell(sizes.get(size, []), "wer") for size in HOURS]
        last = sizes.get("all") or next(iter(sizes.values()))
        seconds = statistics.mean(line["seconds"] for line in last)
        row = [name, *cells, _cell(last, "general_wer"), f"{last[0]['trained']:,}"]
        text.append("| " + " | ".join([*row, f"{seconds:.0f}"]) + " |")
    failed = [line for line in _lines(out) if "error" in line]
    return "\n".join(
        [*text, *(f"failed: {line['name']} {line['error'][-300:]}" for line in failed)]
    )


def plot(out: Path, file: Path, scheme: str) -> None:
    """Draw test WER against hours of speech: means, and the range of several seeds."""
    from matplotlib.figure import Figure

    ink, paper = ("#1f2328", "#ffffff") if scheme == "light" else ("#e6edf3", "#0d1117")
    colours = [ink, "#2f81f7", "#79c0ff", "#d29922", "#e3b341", "#a371f7", "#3fb950", "#8b949e"]
    figure = Figure(figsize=(7.2, 4.4), dpi=160, facecolor=paper, layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor(paper)
    found, ends = _measured(out), []
    for name, colour in zip(METHODS, colours, strict=True):
        points = found.get(name, {})
        sizes = [points[size] for size in HOURS if size in points]
        if not sizes:
            continue
        hours = [statistics.mean(line["hours"] for line in lines) for lines in sizes]
        rates = [[100 * line["wer"] for line in lines] for lines in sizes]
        means = [statistics.mean(each) for each in rates]
        style = {
            "color": colour,
            "linewidth": 2 if name.startswith(("TPA, width", "full")) else 1.2,
        }
        axes.plot(hours, means, marker="o", markersize=4, **style)
        axes.fill_between(hours, [*map(min, rates)], [*map(max, rates)], color=colour, alpha=0.12)
        ends.append((means[-1], hours[-1], name, colour))
    height = float("-inf")
    for mean, hour, name, colour in sorted(ends):
        # Labels that would lie upon each other move apart.
        height = max(mean, height + 2.3)
        axes.annotate(name, (hour, height), xytext=(10, 0), textcoords="offset points",
                      color=colour, va="center", fontsize=9, annotation_clip=False)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([1 / 6, 0.5, 1, 2.24], ["10 min", "30 min", "1 h", "2.2 h"])
    axes.minorticks_off()
    axes.set_xlim(0.15, 5.2)
    axes.set_xlabel("speech to learn from", color=ink)
    axes.set_ylabel("WER %, 63 speakers never heard", color=ink)
    axes.tick_params(colors=ink)
    axes.grid(axis="y", color=ink, alpha=0.12)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink)
    figure.savefig(file)


def _cell(lines: Sequence[dict[str, Any]], key: str) -> str:
    rates = [100 * line[key] for line in lines if line[key] is not None]
    if not rates:
        return "–"
    spread = f" ({min(rates):.1f}–{max(rates):.1f})" if len(rates) > 1 else ""
    return f"{statistics.mean(rates):.1f}{spread}"


if __name__ == "__main__":
    main()
