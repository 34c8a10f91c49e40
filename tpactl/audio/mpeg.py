"""Whether an MP3 file is whole: its frames are walked and compared with what its header declares.

Source: ISO/IEC 11172-3, 2.4.1.3 (frame header); the Xing/Info and VBRI headers as LAME and
Fraunhofer write them.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

Buffer = mmap.mmap | bytes

_KBITS = {
    # (MPEG-1?, layer)
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SEARCHED_BYTES = 1 << 16


@dataclass(frozen=True)
class Frame:
    """One frame header, read."""

    length: int
    is_mpeg1: bool
    layer: int
    rate: int
    is_mono: bool
    has_crc: bool

    def continues(self, other: Frame) -> bool:
        """Return whether ``other`` can belong to the same stream."""
        return (self.is_mpeg1, self.layer, self.rate) == (other.is_mpeg1, other.layer, other.rate)


def may_be(content: Buffer) -> bool:
    """Return whether the file begins like an MPEG audio stream."""
    return _first(content) is not None


def has_length(content: Buffer) -> bool:
    """Return whether a Xing, Info or VBRI header says how many frames there are."""
    start = _first(content)
    return start is not None and _declared(content, start) is not None


def shortfall(content: Buffer) -> str | None:
    """Return why the stream is shorter than it declares, ``None`` where it is not."""
    start = _first(content)
    if start is None:
        return None
    position, present = start, 0
    first = _frame(content, start)
    while first is not None:
        frame = _frame(content, position)
        if frame is None or not first.continues(frame):
            found = None if _is_tag(content, position) else _next(content, position, first)
            if found is None:
                break
            position = found
            continue
        if position + frame.length > len(content):
            return "truncated: its last MPEG frame is cut off"
        position += frame.length
        present += 1
    declared = _declared(content, start)
    if declared is None:
        return None
    frames, size = declared
    held = len(content) - start
    if size > held:
        return f"truncated: its header declares {size:,} bytes, the file holds {held:,}"
    # One frame of tolerance: encoders differ in whether the header's own frame counts.
    if frames > present:
        return f"truncated: its header declares {frames:,} frames, the file holds {present - 1:,}"
    return None


def _first(content: Buffer) -> int | None:
    """Return where the first frame begins, after any ID3v2 tag."""
    position = 0
    while content[position : position + 3] == b"ID3" and len(content) >= position + 10:
        a, b, c, d = content[position + 6 : position + 10]
        position += 10 + (a << 21 | b << 14 | c << 7 | d)
    if position and content[position : position + 1] == b"\0":  # padding after the tag
        while content[position : position + 1] == b"\0":
            position += 1
    frame = _frame(content, position)
    if frame is None:
        return None
    following = _frame(content, position + frame.length)
    at_end = position + frame.length >= len(content) - 4
    if (following is not None and frame.continues(following)) or (at_end and frame.layer == 3):
        return position
    return None


def _next(content: Buffer, position: int, like: Frame) -> int | None:
    """Return the next place where two frames of the stream follow each other."""
    last = min(len(content), position + _SEARCHED_BYTES)
    while (position := content.find(b"\xff", position + 1, last)) >= 0:
        frame = _frame(content, position)
        if frame is not None and like.continues(frame):
            following = _frame(content, position + frame.length)
            if following is not None and like.continues(following):
                return position
    return None


def _is_tag(content: Buffer, position: int) -> bool:
    return content[position : position + 3] == b"TAG" or content[position : position + 8] in (
        b"APETAGEX",
        b"LYRICSBE",
    )


def _frame(content: Buffer, position: int) -> Frame | None:
    head = content[position : position + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    is_mpeg1 = version == 3
    kbits, hertz = _KBITS[is_mpeg1, layer][bits], _RATES[version][rate]
    padding = head[2] >> 1 & 1
    if layer == 1:
        length = (12_000 * kbits // hertz + padding) * 4
    else:
        half = layer == 3 and not is_mpeg1
        length = (72_000 if half else 144_000) * kbits // hertz + padding
    return Frame(length, is_mpeg1, layer, hertz, head[3] >> 6 == 3, head[1] & 1 == 0)


def _declared(content: Buffer, start: int) -> tuple[int, int] | None:
    """Return (frames, bytes) of the stream's own header; 0 bytes where it names none."""
    frame = _frame(content, start)
    if frame is None or frame.layer != 3:
        return None
    side = (17 if frame.is_mono else 32) if frame.is_mpeg1 else (9 if frame.is_mono else 17)
    for at in (start + 4 + side, start + 6 + side):
        if content[at : at + 4] in (b"Xing", b"Info") and len(content) >= at + 16:
            (flags,) = struct.unpack(">I", content[at + 4 : at + 8])
            if not flags & 1:
                return None
            frames, size = struct.unpack(">II", content[at + 8 : at + 16])
            return frames, size if flags & 2 else 0
    at = start + 36
    if content[at : at + 4] == b"VBRI" and len(content) >= at + 18:
        size, frames = struct.unpack(">II", content[at + 10 : at + 18])
        return frames, size
    return None
