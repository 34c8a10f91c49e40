"""The kernel of ``depthwise``, which alone needs Triton."""

import triton
import triton.language as tl


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
    """Write the gradient of ``values`` for one tile of ROWS frames and CHANNELS channels."""
    row = tl.program_id(0).to(tl.int64)
    frame = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channel < channels
    inside = (frame < frames)[:, None] & is_channel[None, :]
    total = tl.zeros((ROWS, CHANNELS), tl.float32)
    for tap in tl.static_range(TAPS):
        read = frame + (TAPS // 2 - tap)
        is_read = ((read >= 0) & (read < frames))[:, None] & is_channel[None, :]
        place = (row * frames + read)[:, None] * channels + channel[None, :]
        factor = tl.load(weight + channel * TAPS + tap, is_channel, 0.0).to(tl.float32)
        total += tl.load(grad + place, is_read, 0.0).to(tl.float32) * factor[None, :]
    kept = tl.load(valid + row * frames + frame, frame < frames, 0)
    total = tl.where((kept != 0)[:, None], total, 0.0)
    place = (row * frames + frame)[:, None] * (2 * channels) + channel[None, :]
    value = tl.load(values + place, inside, 0.0).to(tl.float32)
    opened = tl.sigmoid(tl.load(values + place + channels, inside, 0.0).to(tl.float32))
    kind = out.dtype.element_ty
    tl.store(out + place, (total * opened).to(kind), inside)
    closing = total * value * opened * (1 - opened)
    tl.store(out + place + channels, closing.to(kind), inside)
