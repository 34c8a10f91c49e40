"""Parakeet's frozen convolutional subsampling, channels last, one mask a stage.

The libraries' convolutions want channels before frames, and what lies between them then runs over
the largest tensors of the model in a slow order. Here a product makes the first convolution, and a
Triton kernel each later one, together with the mask and the activation before it.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpactl.bases.fast import kernels

PLACES, CHANNELS = 16, 64
"""Of a kernel's tile."""


class FastSubsampling(nn.Module):
    """What the reference computes; without Triton the reference itself computes it.

    Args:
        reference: ``ParakeetEncoderSubsamplingConv2D``; its tensors are read, never changed.
        dtype: of the activations.
    """

    def __init__(self, reference: Any, dtype: torch.dtype) -> None:
        super().__init__()
        # A tuple hides from nn.Module what belongs to the base.
        self._reference = (reference,)
        self._kernel, self._stride = int(reference.kernel_size), int(reference.stride)
        convolutions: list[Any] = [x for x in reference.layers if isinstance(x, nn.Conv2d)]
        first, later = convolutions[0], convolutions[1:]
        self._stages = len(later) // 2
        with torch.no_grad():
            # Products over a number of columns that is no multiple of eight are slow.
            weight = first.weight.flatten(1)
            weight = F.pad(weight, (0, -weight.shape[1] % 8))
            self._keep("first_weight", weight, dtype)
            self._keep("first_bias", first.bias, dtype)
            for stage in range(self._stages):
                depthwise, pointwise = later[2 * stage : 2 * stage + 2]
                self._keep(f"taps{stage}", depthwise.weight.flatten(1).t(), dtype)
                self._keep(f"shift{stage}", depthwise.bias, dtype)
                self._keep(f"across{stage}", pointwise.weight[..., 0, 0], dtype)
                self._keep(f"bias{stage}", pointwise.bias, dtype)
            # Its columns go by channel and then by band; here the channels come last.
            linear = reference.linear
            weight = linear.weight.view(len(linear.weight), len(first.weight), -1).transpose(1, 2)
            self._keep("out_weight", weight.flatten(1), dtype)
            self._keep("out_bias", linear.bias, dtype)
        self.first_weight: Tensor
        self.first_bias: Tensor
        self.out_weight: Tensor
        self.out_bias: Tensor

    def _keep(self, name: str, value: Tensor, dtype: torch.dtype) -> None:
        self.register_buffer(name, value.detach().to(dtype).contiguous(), persistent=False)

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Return (batch, frames after subsampling, d_model); no gradient flows back.

        Args:
            features: (batch, frames, bands).
            valid: (batch, frames), bool; false on padding.
        """
        if not kernels.can_run(features.device):
            return self._reference[0](features, valid)
        windows = self._windows(features.to(self.out_weight.dtype))
        hidden = F.linear(windows, self.first_weight, self.first_bias)
        lengths = self._length(valid.sum(-1))
        for stage in range(self._stages):
            mixed = self._convolved(hidden, lengths, stage)
            hidden = F.linear(mixed, *(self.get_buffer(f"{n}{stage}") for n in ("across", "bias")))
            lengths = self._length(lengths)
        is_valid = torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]
        hidden = F.relu_(hidden).mul_(is_valid[..., None, None])
        return F.linear(hidden.flatten(2), self.out_weight, self.out_bias)

    def _windows(self, features: Tensor) -> Tensor:
        """Return what each output of the first convolution sees, as columns of a product."""
        kernel, stride, around = self._kernel, self._stride, (self._kernel - 1) // 2
        frames, bands = (self._length(size) for size in features.shape[1:])
        padded = F.pad(features, (around, around, around, around))
        windows = features.new_zeros(len(features), frames, bands, self.first_weight.shape[1])
        for tap, (row, column) in enumerate(itertools.product(range(kernel), repeat=2)):
            rows = slice(row, row + stride * (frames - 1) + 1, stride)
            columns = slice(column, column + stride * (bands - 1) + 1, stride)
            windows[..., tap] = padded[:, rows, columns]
        return windows

    def _convolved(self, hidden: Tensor, lengths: Tensor, stage: int) -> Tensor:
        """Return a depthwise convolution of the activated (batch, frames, bands, channels)."""
        from tpactl.bases.fast import subsampling_kernel  # it imports Triton

        batch, frames, bands, channels = hidden.shape
        out = hidden.new_empty(batch, self._length(frames), self._length(bands), channels)
        places = out.numel() // channels
        taps, shift = self.get_buffer(f"taps{stage}"), self.get_buffer(f"shift{stage}")
        subsampling_kernel.convolution[-(-places // PLACES), -(-channels // CHANNELS)](
            hidden,
            lengths,
            taps,
            shift,
            out,
            places,
            frames,
            bands,
            *out.shape[1:],
            self._kernel,
            self._stride,
            PLACES,
            CHANNELS,
        )
        return out

    def _length(self, length: Any) -> Any:
        return (length + 2 * ((self._kernel - 1) // 2) - self._kernel) // self._stride + 1
