"""The whole chain through the real command line: audio folder to a verified package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.department import SPEAKERS, department
from tests.models import tiny_base

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Chain:
    """A folder with everything the commands left, and what each printed with ``--json``."""

    folder: Path
    said: dict[str, Any]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``tpactl`` as a user would, in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "tpactl", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    department(folder / "audio")
    tiny_base(folder / "base")
    tiny_base(folder / "other", seed=1)
    said = {}
    for step, arguments in {
        "prepare": "prepare audio --out data",
        "train": "train --data data --base base --out run --set training.max_steps=4 "
        "--set training.evaluations=2 --set adapter.bottleneck_dim=4",
        "full": "train --data data --base base --out full --method full "
        "--set training.max_steps=2 --set training.evaluations=1",
        "eval": "eval --data data --split test --base base --run run --run full --out report",
        "package": "package run --name tones/letters --version 1.0.0 --eval report --out a.tpa",
        "verify": "verify a.tpa --base base",
        "inspect": "inspect a.tpa",
        "transcribe": "transcribe audio/eve-0.wav --base base --package a.tpa",
    }.items():
        done = run(folder, *arguments.split(), "--json")
        assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}"
        assert done.stderr == "", step
        said[step] = json.loads(done.stdout)
    return Chain(folder, said)


def test_data_set_keeps_the_ready_made_splits(chain: Chain) -> None:
    splits = json.loads((chain.folder / "data/dataset.json").read_text())["splits"]
    assert {name: split["speakers"] for name, split in splits.items()} == {
        split: len(speakers) for split, speakers in SPEAKERS.items()
    }


def test_report_measures_base_adapter_and_full_fine_tune_on_the_same_words(chain: Chain) -> None:
    systems = json.loads((chain.folder / "report/report.json").read_text())["systems"]
    assert [system["name"] for system in systems] == ["base", "run", "full"]
    assert len({system["wer"]["reference_length"] for system in systems}) == 1
    rows = (chain.folder / "report/utterances.jsonl").read_text().splitlines()
    assert len(rows) == 3 * 15


def test_package_says_what_was_measured_and_verifies_on_its_base(chain: Chain) -> None:
    assert chain.said["package"]["evaluated"] is True
    assert chain.said["verify"]["verified"] is True
    assert chain.said["verify"]["digest"] == chain.said["package"]["digest"]
    assert chain.said["verify"]["canary"]["passed"] is True


def test_package_holds_no_path_of_this_machine(chain: Chain) -> None:
    content = (chain.folder / "a.tpa").read_bytes()
    assert str(chain.folder).encode() not in content
    assert str(Path.home()).encode() + b"/" not in content


def test_transcript_is_the_adapters(chain: Chain) -> None:
    (transcript,) = chain.said["transcribe"]["transcripts"]
    assert transcript["adapter"] == "tones/letters@1.0.0"


def test_a_changed_byte_fails_verification_with_exit_5(chain: Chain) -> None:
    content = bytearray((chain.folder / "a.tpa").read_bytes())
    at = content.index(b"default") if b"default" in content else len(content) // 2
    content[at] ^= 1
    (chain.folder / "b.tpa").write_bytes(content)
    done = run(chain.folder, "verify", "b.tpa", "--json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["exit_code"] == 5


def test_another_base_fails_verification_with_exit_4_and_names_what_differs(chain: Chain) -> None:
    done = run(chain.folder, "verify", "a.tpa", "--base", "other")
    assert done.returncode == 4
    assert "tensors differ" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("fix:")
