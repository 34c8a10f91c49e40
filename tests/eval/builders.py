"""Small data sets, runs and packages for the evaluation, made by hand in well under a second."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from tests.models import tiny_base
from tests.runs import run_record
from tpactl.adapters import attach, store
from tpactl.audio.write import write_flac
from tpactl.bases.load import load_base
from tpactl.bases.recognise import recognise
from tpactl.formats.adapter import TPASettings
from tpactl.formats.dataset import DataSet, DataSetCard, SplitSummary, Utterance, digest_of
from tpactl.formats.files import write_json, write_jsonl
from tpactl.formats.run import RunConfig, text_digest
from tpactl.package.build import build

SPEAKERS = 6


def talking_base(folder: Path, seed: int = 0) -> Path:
    """Write a random base that hears words in noise; an ordinary random one hears blanks only."""
    weights = tiny_base(folder, seed=seed) / "model.safetensors"
    tensors = load_file(weights)
    noise = np.random.default_rng(seed).normal(0, 0.1, 16_000).astype(np.float32)
    base = load_base(str(folder))
    with torch.no_grad():
        logits, _ = base.logits(base.features([noise]))
    # Every logit to mean 0 and deviation 1, so that each token is the best one in some frames.
    mean, spread = logits[0].mean(0), logits[0].std(0)
    tensors["ctc_head.bias"] = (tensors["ctc_head.bias"] - mean) / spread
    tensors["ctc_head.weight"] /= spread[:, None, None]
    tensors["ctc_head.bias"][0] += 1.0  # the space
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def write_data(
    folder: Path, texts: Sequence[str], *, split: str = "test", speakers: int | None = SPEAKERS
) -> Path:
    """Write one utterance of noise a text, spoken by ``speakers`` speakers in turn."""
    (folder / "audio").mkdir(parents=True)
    rows = []
    for number, text in enumerate(texts):
        # Uneven lengths, so that batches are padded and their order is not the data set's.
        samples = 6_000 + 700 * ((number * 5) % 7)
        wave = np.random.default_rng(number).normal(0, 0.1, samples).astype(np.float32)
        path = f"audio/{number}.flac"
        digest = write_flac(folder / path, wave)
        rows.append(
            Utterance(
                audio_filepath=path,
                duration=samples / 16_000,
                text=text,
                id=f"utt-{number}",
                speaker=None if speakers is None else f"spk-{number % speakers}",
                audio_digest=digest,
            )
        )
    write_rows(folder, rows, split)
    return folder


def write_rows(folder: Path, rows: Sequence[Utterance], split: str = "test") -> None:
    write_jsonl(folder / f"{split}.jsonl", rows)
    summary = SplitSummary(utterances=len(rows), duration_s=1.0, speakers=None, characters=1)
    card = DataSetCard(
        source="noise",
        source_form="pairs",
        digest=digest_of((split, row) for row in rows),
        splits={split: summary},
        split_by="source",
        tpactl_version="0.1.0",
    )
    write_json(folder / "dataset.json", card)


def heard_by(base: Path, data: Path) -> list[str]:
    """Return what the base itself hears: as references they make its WER 0."""
    data_set = DataSet(data)
    rows = data_set.utterances("test")
    paths = [data_set.audio_path(row) for row in rows]
    return recognise(load_base(str(base)), paths, [row.duration for row in rows]).texts


def write_run(
    folder: Path,
    base_folder: Path,
    *,
    method: str = "tpa",
    seed: int = 1,
    speakers: Sequence[str] = ("someone",),
    texts: Sequence[str] = (),
    audio: Sequence[str] = (),
) -> Path:
    """Write a finished run whose random adapter (or model) hears other things than its base."""
    base = load_base(str(base_folder))
    if method == "full":
        folder.mkdir(parents=True)
        talking_base(folder / "model", seed=seed)
    else:
        adapter = attach.attach(base, method, TPASettings(bottleneck_dim=4), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in adapter.parameters():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.3)
        store.save(adapter, folder / "adapter")
    record = run_record(
        RunConfig(method=method, base=str(base_folder)),
        base.identity.digest,
        parameters=base.num_parameters if method == "full" else adapter.num_parameters,
        train_speakers=list(speakers),
        train_text_digests=sorted(map(text_digest, texts)),
        train_audio_digests=sorted(audio),
    )
    # Costs are reckoned from these.
    cost = replace(record.cost, seconds=2.0, base_parameters=base.num_parameters)
    write_json(folder / "run.json", replace(record, cost=cost))
    return folder


def write_package(file: Path, run: Path, base: Path) -> Path:
    return build(
        run, name="warehouse/picking", version="1.0.0", out=file, base=load_base(str(base))
    ).path


def copy(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))
