"""A department's terms: a text file, one a line, of one word or several; ``#`` begins a comment.

``eval --glossary`` measures them, beam search listens for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpactl.errors import InputError
from tpactl.formats.files import sha256_of


@dataclass(frozen=True)
class TermFile:
    """The terms as they are written, each once, in the order of the file."""

    path: Path
    digest: str
    terms: list[str]


def read_term_file(path: Path) -> TermFile:
    """Return the terms of a file; empty lines and comments do not count.

    Raises:
        InputError: no such file, no UTF-8 text, or no term.
    """
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}",
            "give a text file, one term a line",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is no UTF-8 text", "save it as UTF-8, one term a line"
        ) from error
    terms = [" ".join(line.split()) for line in lines]
    terms = [term for term in dict.fromkeys(terms) if term and not term.startswith("#")]
    if not terms or "\0" in "".join(terms):
        raise InputError(
            f"{path}: holds no term" if not terms else f"{path}: is no text: it holds zero bytes",
            "give one term a line, with letters or digits",
        )
    return TermFile(path, sha256_of(content), terms)
