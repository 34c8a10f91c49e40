"""Whether a file holds all the audio that its container declares.

Decoders do not say: WAV, AIFF, AU and Ogg come out silently shorter, and a cut MP3 still reports
its full length. So the containers' own words are read here: chunk sizes, Ogg's end-of-stream mark,
the MP3 stream's headers. What declares no length cannot fall short of it: IRCAM, PVF, PAF, XI, and
a live WebM or an MP3 without a length header that is cut exactly between two blocks.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tpactl.audio import mpeg, ogg

# What writers that cannot seek back leave in place of a size: 0xFFFFFFFF (ffmpeg and most speech
# services), 0x7FFFF000 and 0x7FFFFFFF (sox), 0x80000000 (arecord).
_UNKNOWN_SIZES = {0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000}
_UNKNOWN_RIFF_SIZES = _UNKNOWN_SIZES | {0x7FFFF024, 0x80000024}

Buffer = mmap.mmap | bytes


def shortfall(path: Path) -> str | None:
    """Return why the file holds less audio than it declares, ``None`` where it does not.

    Raises:
        OSError: the file cannot be read.
    """
    if path.stat().st_size == 0:
        return None
    with mapped(path) as content:
        return shortfall_of(content)


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Yield the bytes of a file that is not empty; only those looked at are read."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        yield content


def shortfall_of(content: Buffer) -> str | None:
    """Return what ``shortfall`` does for the bytes of a file."""
    head = bytes(content[:12])
    for begins, check in _CHECKS:
        if begins.match(head):
            try:
                return check(content)
            except struct.error:
                return "truncated: it ends inside its header"
    if mpeg.may_be(content):
        return mpeg.shortfall(content)
    return None


def unfinished_wav(path: Path) -> int | None:
    """Return where a WAV file's data size stands if it was left at 0 although audio follows.

    libsndfile takes the 0 at its word and reads nothing; a streaming writer means "to the end".
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    (riff_size,) = struct.unpack("<I", head[4:8])
    position = 12
    while position + 8 <= len(head):
        tag = head[position : position + 4]
        (length,) = struct.unpack("<I", head[position + 4 : position + 8])
        if tag == b"data":
            unwritten = riff_size in _UNKNOWN_RIFF_SIZES | {0, position, position + 4}
            follows = path.stat().st_size > position + 8
            return position + 4 if length == 0 and unwritten and follows else None
        position += 8 + length + (length & 1)
    return None


def _short(declared: int, present: int) -> str | None:
    if declared <= present:
        return None
    return f"truncated: its header declares {declared:,} bytes of audio, the file holds {present:,}"


def _riff(content: Buffer) -> str | None:
    order = ">" if content[:4] == b"RIFX" else "<"
    (riff_size,) = struct.unpack(order + "I", content[4:8])
    long_sizes: dict[bytes, int] = {}
    position = 12
    while position < len(content):
        tag = content[position : position + 4]
        (length,) = struct.unpack(order + "I", content[position + 4 : position + 8])
        if tag == b"ds64":
            (long_sizes[b"data"],) = struct.unpack("<Q", content[position + 16 : position + 24])
        if tag == b"data":
            if content[:4] != b"RIFF" and length == 0xFFFFFFFF:  # RF64, BW64
                length = long_sizes.get(b"data", 0)
            elif length in _UNKNOWN_SIZES or riff_size in _UNKNOWN_RIFF_SIZES:
                return None
            return _short(length, len(content) - position - 8)
        position += 8 + length + (length & 1)
    return "truncated: it ends before its audio begins"


def _wave64(content: Buffer) -> str | None:
    position = 40
    while position < len(content):
        tag = content[position : position + 4]
        (length,) = struct.unpack("<Q", content[position + 16 : position + 24])
        if tag == b"data":
            return _short(length - 24, len(content) - position - 24)
        position += max(24, (length + 7) // 8 * 8)
    return "truncated: it ends before its audio begins"


def _iff(content: Buffer) -> str | None:
    """AIFF, AIFF-C, 8SVX and 16SV."""
    position = 12
    while position < len(content):
        tag = content[position : position + 4]
        (length,) = struct.unpack(">I", content[position + 4 : position + 8])
        if tag in (b"SSND", b"BODY"):
            if length in _UNKNOWN_SIZES:
                return None
            return _short(length, len(content) - position - 8)
        position += 8 + length + (length & 1)
    return "truncated: it ends before its audio begins"


def _au(content: Buffer) -> str | None:
    offset, length = struct.unpack("<II" if content[:4] == b"dns." else ">II", bytes(content[4:12]))
    return None if length in _UNKNOWN_SIZES else _short(length, max(0, len(content) - offset))


def _caf(content: Buffer) -> str | None:
    position = 8
    while position < len(content):
        tag = content[position : position + 4]
        (length,) = struct.unpack(">q", content[position + 4 : position + 12])
        if length < 0:  # -1: to the end of the file
            return None
        short = _short(length, max(0, len(content) - position - 12))
        if short is not None or tag == b"data":
            return short
        position += 12 + length
    return "truncated: it ends before its audio begins"


def _nist(content: Buffer) -> str | None:
    head = bytes(content[:16]).split(b"\n")
    size = int(head[1]) if len(head) > 1 and head[1].strip().isdigit() else 1024
    if len(content) < size:
        return "truncated: it ends inside its header"
    text = bytes(content[:size]).decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -i (\d+)", text, re.MULTILINE))
    if "shorten" in text or "sample_count" not in fields:
        return None
    # One byte a sample where the header leaves it out: mu-law and A-law.
    width = int(fields.get("sample_n_bytes", 1)) * int(fields.get("channel_count", 1))
    return _short(int(fields["sample_count"]) * width, len(content) - size)


def _avr(content: Buffer) -> str | None:
    mono, bits = struct.unpack(">HH", content[12:16])
    (frames,) = struct.unpack(">I", content[26:30])
    return _short(frames * (1 if mono == 0 else 2) * bits // 8, len(content) - 128)


def _mpc2000(content: Buffer) -> str | None:
    (frames,) = struct.unpack("<I", content[30:34])
    return _short(frames * 2 * (2 if content[21] else 1), len(content) - 42)


def _matlab5(content: Buffer) -> str | None:
    order = "<" if content[126:128] == b"IM" else ">"
    name = content.find(b"wavedata", 0, 2048)
    if name < 0:
        return None
    (length,) = struct.unpack(order + "I", content[name + 12 : name + 16])
    return _short(length, len(content) - name - 16)


def _webm(content: Buffer) -> str | None:
    """Matroska and WebM; where a size was left open (live), the blocks inside are walked."""
    position = 0
    while position < len(content):
        taken, _ = _ebml_number(content, position)
        position += taken
        taken, length = _ebml_number(content, position)
        position += taken
        if length == (1 << (7 * taken)) - 1:  # unknown: its children follow
            continue
        short = _short(length, len(content) - position)
        if short is not None:
            return short
        position += length
    return None


def _asf(content: Buffer) -> str | None:
    """WMA: the file's size in its File Properties Object, unless it was broadcast live."""
    at = content.find(b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65")
    if at < 0:
        return "truncated: it ends inside its header"
    (size,) = struct.unpack("<Q", content[at + 40 : at + 48])
    (flags,) = struct.unpack("<I", content[at + 88 : at + 92])
    return None if flags & 1 else _short(size, len(content))


def _ebml_number(content: Buffer, position: int) -> tuple[int, int]:
    if position >= len(content) or content[position] == 0:
        raise struct.error("no EBML number")
    taken = 9 - content[position].bit_length()
    value = int.from_bytes(content[position : position + taken], "big")
    return taken, value & ((1 << (7 * taken)) - 1)


_CHECKS: list[tuple[re.Pattern[bytes], Callable[[Buffer], str | None]]] = [
    (re.compile(pattern, re.DOTALL), check)
    for pattern, check in (
        (rb"(RIFF|RIFX|RF64|BW64)....WAVE", _riff),
        (rb"riff\x2e\x91\xcf\x11", _wave64),
        (rb"FORM....(AIFF|AIFC|8SVX|16SV)", _iff),
        (rb"\.snd|dns\.", _au),
        (rb"caff", _caf),
        (rb"NIST_1A", _nist),
        (rb"2BIT", _avr),
        (rb"\x01\x04", _mpc2000),
        (rb"MATLAB 5", _matlab5),
        (rb"OggS", ogg.shortfall),
        (rb"\x1a\x45\xdf\xa3", _webm),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _asf),
    )
]
