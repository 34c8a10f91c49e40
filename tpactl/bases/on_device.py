"""Features extracted on an accelerator, by the same feature extractor that works on the CPU."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def extractor_on(device: torch.device, extractor: Any) -> Callable[..., Any] | None:
    """Return ``extractor`` for waveforms on ``device``; ``None`` where it works on the CPU alone.

    Extractors of transformers that compute with torch take a ``device``, but pad on the CPU, leave
    there what they padded, and copy it four times on the way. So padding is done here, straight to
    the device. The numbers are those of the CPU up to rounding.

    Args:
        device: a CUDA device.
        extractor: of a base; it stays as it is.
    """
    if "device" not in inspect.signature(type(extractor).__call__).parameters:
        return None
    moved = copy.copy(extractor)
    moved.pad = lambda given, **named: _pad(given, extractor.model_input_names[0], device)

    def extract(waves: Sequence[np.ndarray], **named: Any) -> Any:
        return moved(waves, device=str(device), **named)

    return extract


def _pad(given: Any, name: str, device: torch.device) -> Any:
    """Return what an extractor's ``pad`` does with ``padding=True``: zeros behind each waveform."""
    waves: Sequence[Tensor] = given[name]
    lengths = torch.tensor([len(wave) for wave in waves])
    padded = torch.zeros(len(waves), int(lengths.max()), *waves[0].shape[1:], device=device)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)].copy_(wave, non_blocking=True)
    mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
    return type(given)(
        {
            name: padded,
            "attention_mask": mask.to(device, torch.int32),
            "audio_lengths": lengths.to(device),
        }
    )
