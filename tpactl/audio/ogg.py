"""Whether an Ogg file (Opus, Vorbis, FLAC, Speex) is whole: its pages, checksums and end marks.

Decoders drop a page whose checksum is wrong and go on with the next: the audio comes out shorter.

Source: RFC 3533, section 6: page header; the last page of a logical stream carries the flag 0x04.
"""

from __future__ import annotations

import mmap
import struct
import zlib

_HEADER = struct.Struct("<4sBBqIIIB")
_END = 0x04
_SERIAL = slice(14, 18)
_CHECKSUM = slice(22, 26)
_BITS_TURNED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


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
        start = position
        _, _, flags, _, serial, sequence, checksum, segments = _HEADER.unpack_from(
            content, position
        )
        table = content[position + _HEADER.size : position + _HEADER.size + segments]
        position += _HEADER.size + segments + sum(table)
        if len(table) < segments or position > len(content):
            return "truncated: its last Ogg page is cut off"
        if _checksum(content[start:position]) != checksum:
            return f"damaged: the checksum of Ogg page {sequence} is wrong"
        if sequence > number.get(serial, -1) + 1:
            return f"damaged: Ogg pages are missing before page {sequence}"
        number[serial] = sequence
        ended[serial] = bool(flags & _END)
    if not all(ended.values()):
        return "truncated: the Ogg stream has no end mark, so its last part is missing"
    return None


def with_serial(content: bytes, serial: int) -> bytes:
    """Return a whole Ogg stream under another serial number, its checksums made to fit.

    Writers draw the number at random, so that streams can be chained; it alone keeps two encodings
    of the same sound from being the same bytes.

    Args:
        content: one logical stream, every page whole.
        serial: 0 to 2^32 - 1.
    """
    made = bytearray(content)
    position = 0
    while position < len(made):
        segments = made[position + _HEADER.size - 1]
        table = made[position + _HEADER.size : position + _HEADER.size + segments]
        end = position + _HEADER.size + segments + sum(table)
        page = made[position:end]
        page[_SERIAL] = serial.to_bytes(4, "little")
        page[_CHECKSUM] = _checksum(page).to_bytes(4, "little")
        made[position:end] = page
        position = end
    return bytes(made)


def _checksum(page: bytes | bytearray) -> int:
    """Return Ogg's CRC-32: zlib's polynomial, but highest bit first and from zero."""
    blank = bytearray(page)
    blank[_CHECKSUM] = bytes(4)
    turned = zlib.crc32(blank.translate(_BITS_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{turned:032b}"[::-1], 2)
