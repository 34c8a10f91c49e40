"""How long is an epoch: TPA in the upper half on the cached prefix, against LoRA through PEFT?

python -m tests.bench.cached_prefix [DATA] [BASE]

Both are trainings of `tpactl train`'s own loop on the same batches and features, in memory in both
cases; LoRA's layers are PEFT's, rank 16 on attention and feed-forward. An epoch is the time
between the events of its first and its last step, dev measurements left out; medians over epochs
and rounds, the systems in turn. The cache is written before the first epoch.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import torch

from tpactl.formats.run import Event
from tpactl.prepare.prepare import prepare
from tpactl.shipped import example_department
from tpactl.train.events import Plan
from tpactl.train.settings import read
from tpactl.train.train import train

ROUNDS = 3
COMMON = (
    "training.max_epochs=3",
    "training.evaluations=1",
    "training.spec_augment=false",
    "training.speed_perturbation=false",
    # LoRA's default; it would cost LoRA alone.
    "training.dropout=false",
    "device=cpu",
)
SYSTEMS = {
    "LoRA r16, PEFT": ("method=lora", "lora.r=16"),
    "TPA, all blocks": ("method=tpa",),
    "TPA, upper half": ("method=tpa", "adapter.blocks=upper-half"),
    "TPA, upper half, cached": (
        "method=tpa",
        "adapter.blocks=upper-half",
        "training.cached_prefix=true",
    ),
    "TPA, upper quarter, cached": (
        "method=tpa",
        "adapter.blocks=upper-quarter",
        "training.cached_prefix=true",
    ),
}


def main() -> None:
    """Print a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "data"
        if len(sys.argv) < 2:
            prepare(example_department(), data)
        base = sys.argv[2] if len(sys.argv) > 2 else "starter"
        epochs: dict[str, list[float]] = {name: [] for name in SYSTEMS}
        for round_ in range(ROUNDS):
            for name, settings in SYSTEMS.items():
                out = Path(folder) / f"{round_}-{list(SYSTEMS).index(name)}"
                epochs[name] += _epochs(data, base, settings, out)
        print(f"{base}, {torch.get_num_threads()} threads, {ROUNDS} rounds\n")
        print("| system | epoch s | against LoRA |")
        print("|---" * 3 + "|")
        lora = statistics.median(epochs["LoRA r16, PEFT"])
        for name, seconds in epochs.items():
            median = statistics.median(seconds)
            print(f"| {name} | {median:.1f} | {lora / median:.2f} x |")


def _epochs(data: Path, base: str, settings: tuple[str, ...], out: Path) -> list[float]:
    """Train and return the seconds of each epoch but the first."""
    times: list[tuple[float, float]] = []

    def note(event: Event, plan: Plan) -> None:
        if event.kind == "step":
            times.append((event.epoch, event.time_s))

    train(data, read(None, {"base": base}, [*COMMON, *settings]), out, on_event=note)
    ends = {}
    for epoch, seconds in times:
        if epoch == round(epoch):
            ends[round(epoch)] = seconds
    return [ends[n + 1] - ends[n] for n in sorted(ends) if n + 1 in ends]


if __name__ == "__main__":
    main()
