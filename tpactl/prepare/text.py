"""Text files as departments hand them over: encodings, tables, transcripts."""

from __future__ import annotations

import codecs
import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpactl.errors import InputError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_FIELD = 1 << 20


@dataclass(frozen=True)
class Row:
    """One row of a table; ``fault`` says why it cannot be read."""

    line: int
    values: dict[str, Any]
    fault: str | None = None


def clean(text: str) -> str:
    """Return the transcript as data sets store it: white space collapsed, NFC, else as given."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def unstorable(text: str) -> str | None:
    """Return why ``text`` may not enter a data set, ``None`` where it may.

    A lone surrogate cannot be written as UTF-8; a control character is no speech, and would reach
    the terminal of whoever reads the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds characters that are not valid Unicode"
    for letter in text:
        if unicodedata.category(letter) == "Cc" and not letter.isspace():
            return f"holds a control character (U+{ord(letter):04X})"
    return None


def shown(name: str) -> str:
    """Return ``name`` so that it can be stored and printed: what is not printable is escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, or of a UTF-16 or UTF-32 one that begins with its mark.

    Raises:
        InputError: unreadable, or in another encoding; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", "check the file"
        ) from error
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: not UTF-8: byte 0x{content[error.start]:02x} in line {line} "
            "(perhaps Latin-1 or Windows-1252)",
            "save the file as UTF-8; for Windows-1252: "
            f"iconv -f WINDOWS-1252 -t UTF-8 '{path.name}' > new, then put it in its place",
        ) from error


def rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a ``.csv``, ``.jsonl`` or ``.json`` (JSON lines) file.

    Raises:
        InputError: unreadable, not UTF-8, a table without a header, or JSON of another form.
    """
    text = read_text(path)
    yield from _csv_rows(path, text) if path.suffix.lower() == ".csv" else _json_rows(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    first = text.lstrip("\r\n").partition("\n")[0]
    # European spreadsheets write semicolons.
    delimiter = max(",;\t", key=first.count) if first.count(",") == 0 else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            yield Row(start, {}, f"not valid CSV: {error}")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip().lower() for cell in cells]
            repeated = {name for name in header if name and header.count(name) > 1}
            if repeated:
                raise InputError(
                    f"{path}: the column {sorted(repeated)[0]!r} occurs twice",
                    "give every column its own name",
                )
        elif len(cells) != len(header):
            yield Row(
                start,
                {},
                f"{len(cells)} cells, the header has {len(header)} (quote texts that hold "
                f"a {delimiter!r})",
            )
        else:
            yield Row(start, dict(zip(header, cells, strict=True)))
    if header is None:
        raise InputError(f"{path}: the file is empty", "write a header and one row a recording")


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    if first.startswith("[") or first == "{":
        form, entries = (
            ("a JSON array", ".[]") if first[0] == "[" else ("JSON over many lines", ".")
        )
        raise InputError(
            f"{path}: {form}; JSON lines are needed, one object a line",
            f"write it so: jq -c '{entries}' '{path.name}' > new, then put it in its place",
        )
    # Not splitlines: JSON strings may hold U+2028 and the like unescaped.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(number, {}, f"not valid JSON: {getattr(error, 'msg', error)}")
            continue
        if not isinstance(values, dict):
            yield Row(number, {}, "not a JSON object")
            continue
        yield Row(number, {str(key).strip().lower(): value for key, value in values.items()})
