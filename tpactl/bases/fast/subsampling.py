"""Parakeet's frozen convolutional subsampling for a compiler: channels last, one mask a stage.

The libraries' convolutions want channels before frames, and what lies between them then runs over
the largest tensors of the model in a slow order. As sums of shifted products, convolutions of few
taps melt with masks and activations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FastSubsampling(nn.Module):
    """What the reference computes; without a compiler the reference itself computes it.

    Args:
        reference: ``ParakeetEncoderSubsamplingConv2D``; its tensors are read, never changed.
        dtype: of the activations where it is compiled.
    """

    def __init__(self, reference: Any, dtype: torch.dtype) -> None:
        super().__init__()
        # A tuple hides from nn.Module what belongs to the base.
        self._reference = (reference,)
        self.first_weight: Tensor
        self.first_bias: Tensor
        self.out_weight: Tensor
        self.out_bias: Tensor
        self._kernel, self._stride = int(reference.kernel_size), int(reference.stride)
        self._stages = 0
        linear, channels = reference.linear, int(reference.channels)
        layers: list[Any] = list(reference.layers)
        with torch.no_grad():
            for layer in layers:
                if not isinstance(layer, nn.Conv2d):
                    continue
                if self._stages == 0:
                    # Products over a number of columns that is no multiple of eight are slow.
                    weight = layer.weight.flatten(1)
                    columns = -(-weight.shape[1] // 8) * 8
                    weight = F.pad(weight, (0, columns - weight.shape[1]))
                    self._keep("first_weight", weight, dtype)
                    self._keep("first_bias", layer.bias, dtype)
                    self._stages += 1
                elif layer.kernel_size != (1, 1):
                    self._keep(f"taps{self._stages}", layer.weight.flatten(1).t(), dtype)
                    self._keep(f"shift{self._stages}", layer.bias, dtype)
                    self._stages += 1
                else:
                    self._keep(f"across{self._stages - 1}", layer.weight[..., 0, 0], dtype)
                    self._keep(f"bias{self._stages - 1}", layer.bias, dtype)
            # Its columns go by channel and then by band; here the channels come last.
            weight = linear.weight.view(len(linear.weight), channels, -1).transpose(1, 2)
            self._keep("out_weight", weight.flatten(1), dtype)
            self._keep("out_bias", linear.bias, dtype)

    def _keep(self, name: str, value: Tensor | None, dtype: torch.dtype) -> None:
        assert value is not None
        self.register_buffer(name, value.detach().to(dtype).contiguous(), persistent=False)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Return (batch, frames after subsampling, d_model).

        Args:
            features: (batch, frames, bands).
            valid: (batch, frames), bool; false on padding.
        """
        if not torch.compiler.is_compiling():
            return self._reference[0](features, valid)
        hidden = features.to(self.out_weight.dtype)[..., None]
        lengths = valid.sum(-1)
        for stage in range(self._stages):
            if stage == 0:
                hidden = F.linear(self._windows(hidden), self.first_weight, self.first_bias)
            else:
                across, bias = self._of("across", stage), self._of("bias", stage)
                hidden = F.linear(self._shifted(hidden, stage), across, bias)
            lengths = self._length(lengths)
            is_valid = torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]
            hidden = F.relu(hidden) * is_valid[..., None, None]
        return F.linear(hidden.flatten(2), self.out_weight, self.out_bias)

    def _windows(self, features: Tensor) -> Tensor:
        """Return what each output of the first convolution sees, as columns of a product."""
        windows = torch.cat(list(self._taps(features)), -1)
        return F.pad(windows, (0, self.first_weight.shape[1] - windows.shape[-1]))

    def _shifted(self, hidden: Tensor, stage: int) -> Tensor:
        """Return a convolution of (batch, frames, bands, channels), each channel for itself."""
        out = self._of("shift", stage)
        for values, weight in zip(self._taps(hidden), self._of("taps", stage), strict=True):
            out = out + values * weight
        return out

    def _taps(self, hidden: Tensor) -> Iterator[Tensor]:
        """Return what each place of the kernel reads; (batch, frames, bands, channels)."""
        kernel, stride, around = self._kernel, self._stride, (self._kernel - 1) // 2
        frames, bands = self._length(hidden.shape[1]), self._length(hidden.shape[2])
        padded = F.pad(hidden, (0, 0, around, around, around, around))
        for row, column in itertools.product(range(kernel), repeat=2):
            rows = slice(row, row + stride * (frames - 1) + 1, stride)
            columns = slice(column, column + stride * (bands - 1) + 1, stride)
            yield padded[:, rows, columns]

    def _length(self, length: Any) -> Any:
        return (length + 2 * ((self._kernel - 1) // 2) - self._kernel) // self._stride + 1

    def _of(self, name: str, stage: int) -> Tensor:
        return self.get_buffer(f"{name}{stage}")
