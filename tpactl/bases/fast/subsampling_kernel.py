"""The kernel of ``subsampling``, which alone needs Triton."""

import triton
import triton.language as tl


@triton.jit
def convolution(
    hidden,
    lengths,
    taps,
    shift,
    out,
    places,
    frames,
    bands,
    frames_out,
    bands_out,
    channels,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Write one tile of a depthwise convolution over valid frames, of what is above zero."""
    place = tl.program_id(0).to(tl.int64) * PLACES + tl.arange(0, PLACES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_place, is_channel = place < places, channel < channels
    band, frame = place % bands_out, place // bands_out % frames_out
    row = place // bands_out // frames_out
    length = tl.load(lengths + row, is_place, 0)
    total = tl.zeros((PLACES, CHANNELS), tl.float32)
    total += tl.load(shift + channel, is_channel, 0.0).to(tl.float32)[None, :]
    for tap in tl.static_range(KERNEL * KERNEL):
        at_frame = frame * STRIDE + (tap // KERNEL - (KERNEL - 1) // 2)
        at_band = band * STRIDE + (tap % KERNEL - (KERNEL - 1) // 2)
        is_read = is_place & (at_frame >= 0) & (at_frame < length) & (at_frame < frames)
        is_read = is_read & (at_band >= 0) & (at_band < bands)
        source = ((row * frames + at_frame) * bands + at_band) * channels
        both = is_read[:, None] & is_channel[None, :]
        value = tl.load(hidden + source[:, None] + channel[None, :], both, 0.0).to(tl.float32)
        factor = tl.load(taps + tap * channels + channel, is_channel, 0.0).to(tl.float32)
        total += tl.maximum(value, 0.0) * factor[None, :]
    both = is_place[:, None] & is_channel[None, :]
    to = place[:, None] * channels + channel[None, :]
    tl.store(out + to, total.to(out.dtype.element_ty), both)
