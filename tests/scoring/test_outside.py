"""Our counts against other tools', and against a slow reference, on thousands of pairs."""

import importlib.util
import random
import re
import shutil
import subprocess

import jiwer
import pytest

from tests.scoring.test_wer import fewest_edits
from tpactl.scoring.alignment import align
from tpactl.scoring.wer import count, count_characters, total

SCLITE = shutil.which("sctk")
WORDS = [
    "the", "dock", "is", "full", "bay", "nine", "pallet", "cross", "a", "of", "to", "é", "倉庫",
    "don't", "re-stow", "4711", "x", "y",
]  # fmt: skip


def any_pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Unrelated texts, one in eight blank, one in eight a single character."""
    generator = random.Random(seed)

    def text() -> str:
        kind = generator.randrange(8)
        if kind == 0:
            return generator.choice(["", " ", "\t \n"])
        if kind == 1:
            return generator.choice("abx9é倉")
        return " ".join(generator.choices(WORDS, k=generator.randrange(1, 12)))

    return [(text(), text()) for _ in range(number)]


def realistic_pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Sentences and what a recogniser of some 20 % WER makes of them."""
    generator = random.Random(seed)
    pairs = []
    for _ in range(number):
        said = generator.choices(WORDS, k=generator.randrange(1, 25))
        heard: list[str] = []
        for word in said:
            fate = generator.random()
            if fate < 0.06:
                continue
            heard.append(word if fate < 0.88 else f"{word}{generator.choice('stz')}")
            if generator.random() < 0.04:
                heard.append(generator.choice(WORDS))
        pairs.append((" ".join(said), " ".join(heard)))
    return pairs


PAIRS = any_pairs(3000, 1) + realistic_pairs(1000, 2)


def test_the_pairs_hold_what_they_should():
    assert len(PAIRS) == 4000
    assert sum(not a.strip() for a, _ in PAIRS) > 200
    assert sum(len(a.strip()) == 1 for a, _ in PAIRS) > 200
    assert sum(not a.strip() and not b.strip() for a, b in PAIRS) > 20


def test_word_counts_equal_a_slow_reference():
    for (reference, hypothesis), counted in zip(
        PAIRS, count(*zip(*PAIRS, strict=True)), strict=True
    ):
        words, heard = reference.split(), hypothesis.split()
        assert counted.errors == fewest_edits(words, heard)
        assert align(words, heard).errors == counted.errors
        assert counted.reference_length == len(words)


def test_character_counts_equal_a_slow_reference():
    some = PAIRS[:400]
    for (reference, hypothesis), counted in zip(
        some, count_characters(*zip(*some, strict=True)), strict=True
    ):
        a, b = " ".join(reference.split()), " ".join(hypothesis.split())
        assert counted.errors == fewest_edits(a, b)


def test_the_alignment_matches_equal_words_in_order():
    for reference, hypothesis in PAIRS:
        words, heard = reference.split(), hypothesis.split()
        matched = align(words, heard).matched
        places = [place for place in matched if place is not None]
        assert places == sorted(set(places))
        assert all(words[n] == heard[place] for n, place in enumerate(matched) if place is not None)


def test_totals_equal_jiwer():
    spoken = [(a, b) for a, b in PAIRS if a.strip()]
    references, hypotheses = (
        [" ".join(t.split()) for t in side] for side in zip(*spoken, strict=True)
    )
    whole = jiwer.process_words(references, hypotheses)
    ours = total(count(references, hypotheses))
    assert ours.hits == whole.hits
    assert ours.errors == whole.substitutions + whole.deletions + whole.insertions


@pytest.mark.skipif(
    importlib.util.find_spec("kaldialign") is None, reason="kaldialign is not installed"
)
def test_totals_equal_kaldialign():
    from kaldialign import edit_distance

    for (reference, hypothesis), counted in zip(
        PAIRS, count(*zip(*PAIRS, strict=True)), strict=True
    ):
        assert counted.errors == edit_distance(reference.split(), hypothesis.split())["total"]


def sclite(folder, pairs) -> list[tuple[int, int, int, int]]:
    """Return sclite's (hits, substitutions, deletions, insertions) of each pair."""
    for name, side in (("ref", 0), ("hyp", 1)):
        lines = [f"{' '.join(pair[side].split())} (spk-{n:05})" for n, pair in enumerate(pairs)]
        (folder / f"{name}.trn").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run(
        [SCLITE, "sclite", "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "spu_id",
         "-e", "utf-8", "-o", "pra", "stdout"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = {
        int(number): tuple(map(int, scores.split()))
        for number, scores in re.findall(
            r"id: \(spk-(\d+)\)\nScores: \(#C #S #D #I\) ([\d ]+)", done.stdout
        )
    }
    assert len(found) == len(pairs)  # it drops what it does not find, without a word
    return [found[n] for n in range(len(pairs))]


needs_sclite = pytest.mark.skipif(
    SCLITE is None, reason="sclite is not installed: apt-get install sctk"
)


@needs_sclite
def test_totals_equal_sclite_on_realistic_text(tmp_path):
    pairs = realistic_pairs(1500, 3)
    theirs = sclite(tmp_path, pairs)
    ours = total(count(*zip(*pairs, strict=True)))
    assert sum(s + d + i for _, s, d, i in theirs) == ours.errors
    assert sum(c + s + d for c, s, d, _ in theirs) == ours.reference_length


def cheapest(reference, hypothesis) -> int:
    """The least cost where a substitution weighs 4, a deletion and an insertion 3 (sclite's)."""
    row = [3 * j for j in range(len(hypothesis) + 1)]
    for i, wanted in enumerate(reference, 1):
        above, row = row, [3 * i]
        for j, heard in enumerate(hypothesis, 1):
            swap = above[j - 1] + 4 * (wanted != heard)
            row.append(min(above[j] + 3, row[j - 1] + 3, swap))
    return row[-1]


@needs_sclite
def test_weighted_cost_equals_sclite_on_any_text(tmp_path):
    # sclite minimises a weighted cost, so its counts may be other ones; what ours would cost under
    # its weights can be no less, and the least cost is its own.
    pairs = [(a, b) for a, b in any_pairs(1500, 4) if a.strip() or b.strip()]
    ours = count(*zip(*pairs, strict=True))
    for (reference, hypothesis), theirs, counted in zip(
        pairs, sclite(tmp_path, pairs), ours, strict=True
    ):
        _, s, d, i = theirs
        cost = 4 * s + 3 * (d + i)
        assert cost == cheapest(reference.split(), hypothesis.split())
        assert counted.errors <= s + d + i
