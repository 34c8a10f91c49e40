"""Compute the content identity of a base from its files; no model is built.

    identity = SHA-256 over {model class, config, feature extractor, tokenizer, weights}
    weights  = SHA-256 over the sorted (tensor name, leaf) pairs
    leaf     = SHA-256 over {name, dtype, shape} as JSON, a zero byte, the tensor's bytes

``docs/formats/identity.md`` is the specification.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpactl.errors import BaseError, IntegrityError
from tpactl.formats.files import canonical_json, sha256_of
from tpactl.formats.identity import BaseIdentity

# What loading writes, not what the model computes: library versions, paths, and the dtype, which
# every tensor's own leaf holds.
_VOLATILE = {
    "_name_or_path",
    "auto_map",
    "dtype",
    "is_local",
    "local_files_only",
    "name_or_path",
    "processor_class",
    "torch_dtype",
    "transformers_version",
}
TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
FEATURE_FILES = ("preprocessor_config.json", "processor_config.json")
_MAX_HEADER_BYTES = 100 * 1024 * 1024
"""safetensors' own limit on a file's header."""
_BUFFER_SUFFIXES = (".running_mean", ".running_var", ".num_batches_tracked")


@dataclass(frozen=True)
class _Tensor:
    name: str
    dtype: str
    shape: list[int]
    content: memoryview

    def leaf(self) -> str:
        head = canonical_json({"dtype": self.dtype, "name": self.name, "shape": self.shape})
        digest = hashlib.sha256(head + b"\0")
        digest.update(self.content)
        return "sha256:" + digest.hexdigest()

    def size(self) -> int:
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


def fingerprint(path: Path) -> BaseIdentity:
    """Return the identity of the model directory at ``path``.

    Raises:
        BaseError: no model is there.
        IntegrityError: its weights cannot be read (truncated, or not what their index says).
    """
    config = _read_object(path / "config.json")
    tensors = sorted(_tensors(path), key=lambda tensor: tensor.name)
    # Hashing releases the interpreter lock; the few largest tensors decide, so threads suffice.
    with ThreadPoolExecutor() as pool:
        leaves = dict(zip([t.name for t in tensors], pool.map(_Tensor.leaf, tensors), strict=True))
    model_class = ", ".join(config.get("architectures") or ["unknown"])
    parts = {
        "config": _digest(_without_volatile(config)),
        "feature_extractor": _digest(_file_contents(path, FEATURE_FILES)),
        "tokenizer": _digest(_file_contents(path, _tokenizer_files(path))),
        "weights": _digest(sorted(leaves.items())),
    }
    return BaseIdentity(
        digest=_digest({"model_class": model_class, **parts}),
        weights=parts["weights"],
        config=parts["config"],
        tokenizer=parts["tokenizer"],
        feature_extractor=parts["feature_extractor"],
        tensors=leaves,
        model_class=model_class,
        num_parameters=sum(t.size() for t in tensors if not t.name.endswith(_BUFFER_SUFFIXES)),
    )


def check_files(path: Path) -> None:
    """Raise where the model directory at ``path`` is not whole, without reading its weights.

    A pickle is no container whose length can be compared; whoever loads one finds out.

    Raises:
        BaseError: configuration or weights are not there.
        IntegrityError: the weights are cut short, or not what their index says.
    """
    _read_object(path / "config.json")
    if not (path / "pytorch_model.bin").is_file() or (path / "model.safetensors").is_file():
        for _ in _tensors(path):
            pass


def _digest(value: Any) -> str:
    return sha256_of(canonical_json(value))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BaseError(
            f"{path.parent} is no model directory: it has no {path.name}",
            "give a Hugging Face model directory, a hub id, or the word: starter",
        ) from error
    except (OSError, ValueError) as error:
        raise BaseError(f"{path}: cannot be read: {error}", "restore the file") from error
    if not isinstance(value, dict):
        raise BaseError(f"{path}: not a JSON object", "restore the file")
    return value


def _without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_volatile(v) for k, v in value.items() if k not in _VOLATILE}
    if isinstance(value, list):
        return [_without_volatile(item) for item in value]
    return value


def _tokenizer_files(path: Path) -> tuple[str, ...]:
    pieces = sorted(p.name for p in path.glob("*.model")) + sorted(
        p.name for p in path.glob("*.spm")
    )
    return (*TOKENIZER_FILES, *pieces)


def _file_contents(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    contents: dict[str, Any] = {}
    for name in names:
        file = path / name
        if not file.is_file():
            continue
        if file.suffix == ".json":
            contents[name] = _without_volatile(_read_object(file))
        else:
            contents[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return contents


def _tensors(path: Path) -> Iterator[_Tensor]:
    index = path / "model.safetensors.index.json"
    if (path / "model.safetensors").is_file():
        yield from _safetensors(path / "model.safetensors")
    elif index.is_file():
        weight_map = _read_object(index).get("weight_map", {})
        found: set[str] = set()
        for shard in sorted(set(weight_map.values())):
            if Path(shard).name != shard:
                raise IntegrityError(f"{index}: shard name {shard!r} is a path", "restore the file")
            for tensor in _safetensors(path / shard):
                found.add(tensor.name)
                yield tensor
        if found != set(weight_map):
            different = ", ".join(sorted(found ^ set(weight_map))[:5])
            raise IntegrityError(
                f"{index}: names other tensors than its shards hold: {different}",
                "download the model again",
            )
    elif (path / "pytorch_model.bin").is_file():
        yield from _pickled(path / "pytorch_model.bin")
    else:
        raise BaseError(
            f"{path} holds no weights (model.safetensors, its index, or pytorch_model.bin)",
            "give a Hugging Face model directory with its weights",
        )


def _safetensors(path: Path) -> Iterator[_Tensor]:
    """Yield a safetensors file's tensors without copying them.

    Source: the format's own description, https://github.com/huggingface/safetensors#format.
    """
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        (header_size,) = struct.unpack("<Q", content[:8])
        if header_size > min(_MAX_HEADER_BYTES, len(content) - 8):
            raise ValueError("its header is longer than the file")
        header = json.loads(bytes(content[8 : 8 + header_size]))
        header.pop("__metadata__", None)
        data = content[8 + header_size :]
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end != len(data):
            raise ValueError(f"it should hold {end} bytes of tensors and holds {len(data)}")
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            yield _Tensor(name, entry["dtype"], entry["shape"], data[start:stop])
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise IntegrityError(
            f"{path}: not a whole safetensors file: {error}", "copy or download the model again"
        ) from error


def _pickled(path: Path) -> Iterator[_Tensor]:
    import torch

    names = {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
        torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
        torch.uint8: "U8", torch.bool: "BOOL",
    }  # fmt: skip
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise IntegrityError(
            f"{path}: cannot be read as weights alone: {error}",
            "save the model as safetensors: model.save_pretrained(DIR)",
        ) from error
    for name, tensor in state.items():
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        yield _Tensor(name, names[tensor.dtype], list(tensor.shape), memoryview(flat.numpy()))
