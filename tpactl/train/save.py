"""Writes what a training leaves behind: ``run.json``, ``run.yaml``, ``adapter/`` or ``model/``."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save as serialise_safetensors

from tpactl.bases.base import Base
from tpactl.formats.files import write_bytes, write_json
from tpactl.formats.run import RunRecord
from tpactl.train.settings import write as run_file

_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", "*.h5", "*.msgpack", "*.onnx", "*.nemo")


def save_record(record: RunRecord, folder: Path) -> None:
    """Write ``run.yaml`` and, last of all that a run holds, ``run.json``."""
    write_bytes(folder / "run.yaml", run_file(record.config).encode())
    write_json(folder / "run.json", record)


def save_model(base: Base, folder: Path) -> None:
    """Write the base's model as it now is, a directory that any ``--base`` accepts.

    Configuration, tokenizer and feature extractor are the base's own files, byte for byte; only the
    weights differ, stored in float32 as they were trained.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(base.path.iterdir()):
        if source.is_file() and not any(source.match(pattern) for pattern in _WEIGHTS):
            shutil.copyfile(source, folder / source.name)
    tied = set(getattr(base.model, "_tied_weights_keys", None) or ())
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in base.model.state_dict().items()
        if name not in tied
    }
    content = serialise_safetensors(tensors, metadata={"format": "pt"})
    write_bytes(folder / "model.safetensors", content)


def environment(threads: int, precision: str) -> dict[str, str]:
    """Return what, beside the configuration, decides the last bits of a result."""
    libraries = {name: version(name) for name in ("torch", "transformers", "accelerate", "numpy")}
    return {
        "python": platform.python_version(),
        **libraries,
        "platform": platform.platform(),
        "cuda": str(torch.version.cuda),
        "threads": str(threads),
        "precision": precision,
    }
