"""Whether an Ogg file (Opus, Vorbis, FLAC, Speex) is whole: its pages, numbers and end marks.

Source: RFC 3533, section 6: page header; the last page of a logical stream carries the flag 0x04.
"""

from __future__ import annotations

import mmap
import struct

_HEADER = struct.Struct("<4sBBqIIIB")
_END = 0x04


def shortfall(content: mmap.mmap | bytes) -> str | None:
    """Return why the Ogg stream is not whole, ``None`` where it is."""
    position = 0
    ended: dict[int, bool] = {}
    number: dict[int, int] = {}
    while position < len(content):
        if content[position : position + 4] != b"OggS":
            if b"OggS".startswith(content[position : position + 4]):
                return "truncated: its last Ogg page is cut off"
            break  # a tag or other bytes after the audio
        if position + _HEADER.size > len(content):
            return "truncated: its last Ogg page is cut off"
        _, _, flags, _, serial, sequence, _, segments = _HEADER.unpack_from(content, position)
        table = content[position + _HEADER.size : position + _HEADER.size + segments]
        position += _HEADER.size + segments + sum(table)
        if len(table) < segments or position > len(content):
            return "truncated: its last Ogg page is cut off"
        if sequence > number.get(serial, -1) + 1:
            return f"damaged: Ogg pages are missing before page {sequence}"
        number[serial] = sequence
        ended[serial] = bool(flags & _END)
    if not all(ended.values()):
        return "truncated: the Ogg stream has no end mark, so its last part is missing"
    return None
