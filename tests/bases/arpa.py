"""A small bigram model from sentences, with absolute discounting, as an ARPA file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from math import log10
from pathlib import Path

DISCOUNT = 0.5


def write_arpa(path: Path, sentences: Iterable[str]) -> Path:
    """Write the model; probabilities of each history add up to 1."""
    rows = [["<s>", *sentence.split(), "</s>"] for sentence in sentences]
    words = Counter(word for row in rows for word in row[1:])
    pairs = Counter(pair for row in rows for pair in pairwise(row))
    histories = Counter(first for first, _ in pairs.elements())
    kinds = Counter(first for first, _ in pairs)
    unseen = 1.0
    total = sum(words.values()) + unseen
    unigram = {word: count / total for word, count in words.items()}
    backoff = {}
    for first, count in histories.items():
        seen = sum(unigram[second] for other, second in pairs if other == first)
        backoff[first] = DISCOUNT * kinds[first] / count / (1 - seen)
    lines = ["\\data\\", f"ngram 1={len(words) + 2}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    lines += [f"{log10(unseen / total):.6f}\t<unk>", f"-99\t<s>\t{log10(backoff['<s>']):.6f}"]
    for word, probability in sorted(unigram.items()):
        weight = f"\t{log10(backoff[word]):.6f}" if word in backoff else ""
        lines.append(f"{log10(probability):.6f}\t{word}{weight}")
    lines += ["", "\\2-grams:"]
    for (first, second), count in sorted(pairs.items()):
        lines.append(f"{log10((count - DISCOUNT) / histories[first]):.6f}\t{first} {second}")
    path.write_text("\n".join([*lines, "", "\\end\\", ""]), "utf-8")
    return path
