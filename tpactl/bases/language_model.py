"""Which words an n-gram language model knows, read from its file: ARPA, ARPA.gz or KenLM's binary.

Beam search needs them beside the model: a beginning that no known word has is given up early.
"""

from __future__ import annotations

import gzip
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tpactl.errors import InputError
from tpactl.formats.files import sha256_of_file

_BINARY = b"mmap lm http://kheafield.com/code"
"""How a binary file of KenLM begins."""
_GZIP = b"\x1f\x8b"
_NO_WORDS = {"<unk>", "<UNK>", "<s>", "</s>"}
_MAKE_ONE = "give an n-gram model of words: .arpa, .arpa.gz, or .bin of KenLM's build_binary"


@dataclass(frozen=True)
class LanguageModel:
    """An n-gram language model's file and its words, sentence marks not among them."""

    path: Path
    digest: str
    words: list[str]


def read_language_model(path: Path) -> LanguageModel:
    """Return the model in ``path``. Only its words are read; KenLM reads and checks the rest.

    Raises:
        InputError: no such file, no language model, one that is cut off, or one without words.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_BINARY))
            file.seek(0)
            if start == _BINARY:
                words = _words_of_binary(path, file)
            elif start.startswith(_GZIP):
                with gzip.open(file) as unpacked:
                    words = list(_words_of_arpa(path, iter(unpacked)))
            else:
                words = list(_words_of_arpa(path, iter(file)))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: its compressed content is cut off", "copy it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}", _MAKE_ONE) from error
    words = [word for word in words if word not in _NO_WORDS]
    if not words:
        raise InputError(f"{path}: is a language model that knows no word", _MAKE_ONE)
    return LanguageModel(path, sha256_of_file(path), words)


def _words_of_arpa(path: Path, lines: Iterator[bytes]) -> Iterator[str]:
    """Yield the second field of each line of the section of 1-grams."""
    first = next((line.strip() for line in lines if line.strip()), b"")
    if first != rb"\data" + b"\\":
        raise InputError(
            f"{path}: is no language model: neither \\data\\ of ARPA nor KenLM's mark at its start"
            if first
            else f"{path}: is empty",
            _MAKE_ONE,
        )
    inside = False
    for line in lines:
        fields = line.split()
        if line.startswith(b"\\"):
            if inside and fields == [rb"\end" + b"\\"]:
                raise InputError(f"{path}: holds 1-grams alone, not even a bigram", _MAKE_ONE)
            if inside:
                return
            inside = fields == [rb"\1-grams:"]
        elif inside and len(fields) >= 2:
            try:
                yield fields[1].decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}: has words that are no UTF-8", "make it from UTF-8 texts"
                ) from error
    raise InputError(f"{path}: is cut off after its 1-grams", "copy it again")


def _words_of_binary(path: Path, file: IO[bytes]) -> list[str]:
    """Return the words that stand at the file's end, each with a zero byte behind it."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.rfind(b"<unk>\0")
        if start < 0:
            raise InputError(
                f"{path}: a binary language model without its words",
                "give the .arpa file, or build it again with KenLM's build_binary",
            )
        return content[start:].decode(errors="replace").split("\0")[:-1]
