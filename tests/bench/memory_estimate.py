"""Hold the memory that ``--dry-run`` expects against the peak the training measures.

    python -m tests.bench.memory_estimate --data DATA [--base BASE] [--device cuda] [--set K=V]...

One line a method: expected, measured, their ratio. Each runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

METHODS = ("tpa", "head", "full")
STEPS = 12


def tpactl_train(*arguments: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "tpactl", "train", *arguments, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--base", default="starter")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()
    flags = ["--data", given.data, "--base", given.base, "--device", given.device]
    flags += ["--max-steps", str(STEPS), "--set", "training.evaluations=1"]
    flags += [part for setting in given.settings for part in ("--set", setting)]
    for method in METHODS:
        expected = tpactl_train(*flags, "--method", method, "--dry-run")["wanted"]["memory_bytes"]
        with tempfile.TemporaryDirectory() as scratch:
            out = str(Path(scratch) / "run")
            measured = tpactl_train(*flags, "--method", method, "--out", out)["peak_memory_bytes"]
        print(
            f"{method:>6}  expected {expected / 2**20:8.0f} MiB  measured {measured / 2**20:8.0f} "
            f"MiB  ratio {expected / measured:.3f}"
        )


if __name__ == "__main__":
    main()
