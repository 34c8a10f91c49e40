"""Step 1 of the starter recipe: the sentences that the speech engines will read.

Reads Debian packages of free text, unpacked or installed below one root; writes one JSON file with
the keys ``train``, ``held_out`` (sentences) and ``words``. A sentence that shares five words in a
row (or, if it is shorter, all its words) with a transcript named by ``--exclude`` is left out, so
that no test sentence is read to the model in training.

    python texts.py --root / --out texts.json --exclude SPEECH/general/dev/metadata.csv

Sources (package: licence): wordnet-base (WordNet 3.0 licence, BSD-like), sword-text-web (World
English Bible, public domain), r-cran-janeaustenr (Jane Austen's novels, public domain), dict-devil
(Bierce 1911, public domain), dict-jargon (The Jargon File, public domain).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from architecture import normalise_text

SENTENCE = re.compile(r"[^.!?;:\n]+")
SPEAKABLE = re.compile(r"[A-Za-z][A-Za-z',\- ]*")
NOT_SPOKEN_AS_WRITTEN = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "st",
        "messrs",
        "etc",
        "esq",
        "ie",
        "eg",
        "vs",
        "jr",
        "sr",
        "viz",
        "cf",
        "ca",
        "ft",
        "lb",
        "oz",
        "co",
        "inc",
        "ltd",
        "ii",
        "iii",
        "iv",
        "vi",
        "vii",
        "viii",
        "ix",
        "xi",
    ]
)
SINGLE_LETTER_WORDS = frozenset(("a", "i", "o"))
OVERLAP_WORDS = 5
HELD_OUT_SHARE = 0.02


def wordnet(root: Path) -> Iterator[str]:
    """Yield WordNet's glosses: definitions and examples."""
    for part in ("noun", "verb", "adj", "adv"):
        with (root / f"usr/share/wordnet/data.{part}").open(encoding="latin-1") as lines:
            for line in lines:
                if "|" in line:
                    yield re.sub(r"[\"()]", ";", line.split("|", 1)[1]).replace("--", ";")


def world_english_bible(root: Path) -> Iterator[str]:
    """Yield the World English Bible, a SWORD zText module: zlib blocks, indexed by ``*.bzs``."""
    folder = root / "usr/share/sword/modules/texts/ztext/engWEB2015eb"
    for testament in ("ot", "nt"):
        index = (folder / f"{testament}.bzs").read_bytes()
        blocks = (folder / f"{testament}.bzz").read_bytes()
        for start, size, _ in struct.iter_unpack("<III", index):
            if size:
                text = zlib.decompress(blocks[start : start + size]).decode("utf-8", "ignore")
                text = re.sub(r"<note.*?</note>|<title.*?</title>", " ", text, flags=re.DOTALL)
                yield re.sub(r"<[^>]*>", " ", text).replace("\u2019", "'")


def jane_austen(root: Path) -> Iterator[str]:
    """Yield Jane Austen's novels out of an R data base: length and zlib block, repeated.

    A block holds serialised R strings, each a marker, its length (32 bits, big endian) and its
    bytes.
    """
    marker = bytes.fromhex("00040009")
    database = (root / "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    start = 0
    while start + 4 < len(database):
        try:
            reader = zlib.decompressobj()
            block = reader.decompress(database[start + 4 :])
        except zlib.error:
            return
        start = len(database) - len(reader.unused_data)
        lines = []
        for string in block.split(marker)[1:]:
            (length,) = struct.unpack(">I", string[:4])
            lines.append(string[4 : 4 + length].decode("ascii", "ignore"))
        yield re.sub(r"[\"()_]|--", "; ", " ".join(lines))


def dictionary(root: Path, name: str) -> Iterator[str]:
    """Yield the running text of a dictd data base."""
    with gzip.open(
        root / f"usr/share/dictd/{name}.dict.dz", "rt", encoding="utf-8", errors="ignore"
    ) as file:
        for paragraph in re.split(r"\n\s*\n", file.read()):
            yield re.sub(r"[\"(){}\[\]_]|--", ";", re.sub(r"\s+", " ", paragraph))


def speakable_sentences(passages: Iterable[str]) -> Iterator[str]:
    """Yield the clauses of ``passages`` that any engine reads as they are written."""
    for passage in passages:
        for match in SENTENCE.finditer(passage):
            sentence = " ".join(match.group().replace("-", " ").replace(" ,", ",").split()).strip(
                " ,'"
            )
            if not SPEAKABLE.fullmatch(sentence):
                continue
            if any(len(word) > 1 and word.isupper() for word in sentence.split()):
                continue
            words = normalise_text(sentence).split()
            singles = {word for word in words if len(word) == 1}
            if (
                2 <= len(words) <= 60
                and not NOT_SPOKEN_AS_WRITTEN & set(words)
                and singles <= SINGLE_LETTER_WORDS
            ):
                yield sentence


def word_runs(text: str) -> set[tuple[str, ...]]:
    """Return every run of ``OVERLAP_WORDS`` words in ``text``, or all its words if fewer."""
    words = normalise_text(text).split()
    last = max(1, len(words) - OVERLAP_WORDS + 1)
    return {tuple(words[start : start + OVERLAP_WORDS]) for start in range(last)}


def main() -> None:
    """Write the sentences and print how many came from where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="where the packages are installed or unpacked"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--exclude", type=Path, nargs="*", default=[], help="metadata.csv files of test sets"
    )
    arguments = parser.parse_args()

    excluded: set[tuple[str, ...]] = set()
    for path in arguments.exclude:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                excluded |= word_runs(row["transcription"])

    root = arguments.root
    sources = {
        "wordnet": wordnet(root),
        "world_english_bible": world_english_bible(root),
        "jane_austen": jane_austen(root),
        "devil": dictionary(root, "devil"),
        "jargon": dictionary(root, "jargon"),
    }
    kept: dict[str, str] = {}
    for name, passages in sources.items():
        before = len(kept)
        for sentence in speakable_sentences(passages):
            if not word_runs(sentence) & excluded:
                kept.setdefault(normalise_text(sentence), sentence)
        print(f"{name}: {len(kept) - before} sentences")

    sentences = list(kept.values())
    random.Random(0).shuffle(sentences)
    num_held_out = int(len(sentences) * HELD_OUT_SHARE)
    counts = Counter(
        word for sentence in sentences[num_held_out:] for word in normalise_text(sentence).split()
    )
    words = [word for word, count in counts.most_common() if count >= 3 and len(word) > 1]
    result = {
        "held_out": sentences[:num_held_out],
        "train": sentences[num_held_out:],
        "words": words,
    }
    arguments.out.write_text(json.dumps(result))
    print(
        {key: len(value) for key, value in result.items()},
        f"{arguments.out.stat().st_size / 1e6:.1f} MB",
    )


if __name__ == "__main__":
    main()
