"""The kernel of ``depthwise``, which alone needs Triton."""

import triton
import triton.language as tl


@triton.jit
def gate(values, valid, out, channels, CHANNELS: tl.constexpr):
    """Write one frame's gated channels, zero where it is padding."""
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, CHANNELS)
    is_read = channel < tl.where(tl.load(valid + frame) != 0, channels, 0)
    place = values + frame * (2 * channels) + channel
    value = tl.load(place, is_read, 0.0).to(tl.float32)
    value *= tl.sigmoid(tl.load(place + channels, is_read, 0.0).to(tl.float32))
    to = out + frame * channels + channel
    tl.store(to, value.to(out.dtype.element_ty), channel < channels)


@triton.jit
def add_taps(
    total,
    values,
    weight,
    row,
    frame,
    channel,
    frames,
    channels,
    TAPS: tl.constexpr,
    TURNED: tl.constexpr,
):
    """Return ``total`` with a tile of the convolution added; a gradient turns its taps."""
    is_channel = channel < channels
    for tap in tl.static_range(TAPS):
        read = frame + (TAPS // 2 - tap if TURNED else tap - TAPS // 2)
        is_read = ((read >= 0) & (read < frames))[:, None] & is_channel[None, :]
        place = (row * frames + read)[:, None] * channels + channel[None, :]
        factor = tl.load(weight + channel * TAPS + tap, is_channel, 0.0).to(tl.float32)
        total += tl.load(values + place, is_read, 0.0).to(tl.float32) * factor[None, :]
    return total


@triton.jit
def convolution(
    gated,
    weight,
    shift,
    out,
    mixed,
    frames,
    channels,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write one tile of the convolution, before and after its activation."""
    row = tl.program_id(0).to(tl.int64)
    frame = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    total = tl.zeros((ROWS, CHANNELS), tl.float32)
    total += tl.load(shift + channel, is_channel, 0.0).to(tl.float32)[None, :]
    total = add_taps(total, gated, weight, row, frame, channel, frames, channels, TAPS, False)
    inside = (frame < frames)[:, None] & is_channel[None, :]
    place = (row * frames + frame)[:, None] * channels + channel[None, :]
    kind = out.dtype.element_ty
    tl.store(mixed + place, total.to(kind), inside)
    tl.store(out + place, (total * tl.sigmoid(total)).to(kind), inside)


@triton.jit
def gated_mix_gradient(
    grad,
    values,
    valid,
    weight,
    out,
    frames,
    channels,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write the gradient of ``values`` for one tile, by that of the convolution."""
    row = tl.program_id(0).to(tl.int64)
    frame = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    inside = (frame < frames)[:, None] & is_channel[None, :]
    total = tl.zeros((ROWS, CHANNELS), tl.float32)
    total = add_taps(total, grad, weight, row, frame, channel, frames, channels, TAPS, True)
    kept = tl.load(valid + row * frames + frame, frame < frames, 0)
    total = tl.where((kept != 0)[:, None], total, 0.0)
    place = (row * frames + frame)[:, None] * (2 * channels) + channel[None, :]
    value = tl.load(values + place, inside, 0.0).to(tl.float32)
    opened = tl.sigmoid(tl.load(values + place + channels, inside, 0.0).to(tl.float32))
    kind = out.dtype.element_ty
    tl.store(out + place, (total * opened).to(kind), inside)
    closing = total * value * opened * (1 - opened)
    tl.store(out + place + channels, closing.to(kind), inside)
