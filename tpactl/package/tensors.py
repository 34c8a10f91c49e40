"""Safetensors headers, checked without loading a tensor, and a writer with fixed bytes.

Source: the format's own description, https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from tpactl.formats.files import canonical_json
from tpactl.package.strict import damaged, parse

_MOST_HEADER_BYTES = 16 * 1024 * 1024
_SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
_NUMPY: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I16": np.dtype("<i2")}
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Tensor:
    """One tensor of a safetensors file: where its bytes lie, counted from the file's start."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def num_elements(self) -> int:
        """The product of the shape."""
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


def read_header(file: BinaryIO, size: int, what: str) -> list[Tensor]:
    """Return the tensors of a safetensors file, in the order of their bytes.

    Args:
        file: positioned at the start of the content.
        size: length of the content.
        what: the part's name, for messages.

    Raises:
        IntegrityError: the header is malformed, or tensors overlap, leave gaps or end elsewhere.
    """
    if size < 8:
        raise damaged(what, "too short for a safetensors file")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(_MOST_HEADER_BYTES, size - 8):
        raise damaged(what, f"its header claims {length} bytes")
    header = parse(file.read(length), what)
    if not isinstance(header, dict):
        raise damaged(what, "its header is no JSON object")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise damaged(what, "its metadata is not text")
    tensors = sorted(
        (_tensor(name, entry, 8 + length, what) for name, entry in header.items()),
        key=lambda tensor: (tensor.start, tensor.stop),
    )
    position = 8 + length
    for tensor in tensors:
        if tensor.start != position:
            raise damaged(what, f"tensor {tensor.name!r} overlaps another or leaves a gap")
        position = tensor.stop
    if position != size:
        raise damaged(what, f"its tensors end at byte {position}, the file at {size}")
    return tensors


def _tensor(name: str, entry: Any, data_start: int, what: str) -> Tensor:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise damaged(what, f"tensor {name!r} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _SIZES:
        raise damaged(what, f"tensor {name!r} has dtype {str(dtype)[:20]!r}")
    if not _are_counts(shape) or len(shape) > 8:
        raise damaged(what, f"tensor {name!r} has a shape that is none")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise damaged(what, f"tensor {name!r} has offsets that are none")
    tensor = Tensor(name, dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])
    if tensor.stop - tensor.start != tensor.num_elements * _SIZES[dtype]:
        raise damaged(what, f"tensor {name!r}: shape {shape} and its bytes do not agree")
    return tensor


def _are_counts(value: Any) -> bool:
    # bool is an int in Python; 2**53 is where JSON readers begin to disagree.
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**53 for n in value)


def serialise(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file of float32 and int16 arrays; equal arguments give equal bytes."""
    names = {dtype: name for name, dtype in _NUMPY.items()}
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    contents: list[bytes] = []
    position = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        little = array.astype(array.dtype.newbyteorder("<"))
        content = little.tobytes()
        header[name] = {
            "dtype": names[little.dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + len(content)],
        }
        contents.append(content)
        position += len(content)
    head = canonical_json(header)
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + b"".join(contents)


def deserialise(content: bytes, what: str) -> dict[str, np.ndarray]:
    """Return the arrays of ``serialise``.

    Raises:
        IntegrityError: as ``read_header``, or another dtype.
    """
    from io import BytesIO

    arrays = {}
    for tensor in read_header(BytesIO(content), len(content), what):
        if tensor.dtype not in _NUMPY:
            raise damaged(what, f"tensor {tensor.name!r} has dtype {tensor.dtype}")
        flat = np.frombuffer(content[tensor.start : tensor.stop], _NUMPY[tensor.dtype])
        arrays[tensor.name] = flat.reshape(tensor.shape)
    return arrays
