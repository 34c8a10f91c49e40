"""Beam search: the best text by all its alignments, the language model and the terms."""

from __future__ import annotations

import gzip
import itertools
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bases.arpa import write_arpa
from tests.models import CTC_FAMILIES, LETTERS, TRANSDUCERS, tiny_base
from tpactl.audio.decode import decode
from tpactl.bases.beam import BeamDecoder
from tpactl.bases.language_model import read_language_model
from tpactl.bases.load import load_base
from tpactl.bases.recognise import recognise_features
from tpactl.errors import BaseError, InputError, MachineError, UsageError
from tpactl.formats.decoding import BeamSettings
from tpactl.scoring.wer import count, rate
from tpactl.shipped import example_department

GOLDEN = Path(__file__).parents[1] / "golden" / "language_model"
SENTENCES = ["ab ba", "ba ba", "ba ab ba"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_base(str(tiny_base(tmp_path_factory.mktemp("beam") / "base")))


@pytest.fixture(scope="module")
def lm(tmp_path_factory) -> Path:
    return write_arpa(tmp_path_factory.mktemp("lm") / "tiny.arpa", SENTENCES)


def sure(base, path: list[int]) -> torch.Tensor:
    """Return logits that leave no doubt about a CTC path; (1, frames, vocabulary)."""
    logits = torch.full((1, len(path), base.vocab_size), -50.0)
    logits[0, range(len(path)), path] = 50.0
    return logits


def unsure(base, text: str, seed: int, frames: int = 5) -> torch.Tensor:
    """Return random logits of the letters of ``text`` and the blank."""
    tokens = [*base.encode(text), base.blank_id]
    logits = torch.full((1, frames, base.vocab_size), -50.0)
    logits[0][:, tokens] = torch.randn(frames, len(tokens), generator=torch.manual_seed(seed))
    return logits


def search(base, logits, **settings) -> str:
    beam = BeamDecoder(BeamSettings(**settings)).on(base)
    return beam.decode(logits, torch.tensor([logits.shape[1]]))[0]


@pytest.mark.parametrize("family", CTC_FAMILIES)
def test_where_the_audio_leaves_no_doubt_it_writes_what_greedy_decoding_writes(family, tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base", family)))
    beam = BeamDecoder(BeamSettings()).on(base)
    draw = np.random.default_rng(0)
    paths = [draw.integers(0, base.vocab_size, 40).tolist() for _ in range(20)]
    logits = torch.cat([sure(base, path) for path in paths])
    expected = [base.decode_path(path) for path in paths]
    assert beam.decode(logits, torch.tensor([40] * 20)) == expected
    assert sum(" " in text for text in expected) > 10


def test_pieces_of_words_are_joined_as_their_tokenizer_joins_them(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import ParakeetTokenizer

    base = load_base(str(tiny_base(tmp_path / "base")))
    pieces = ["<unk>", "▁", "▁the", "▁dock", "s", "ing", "▁a", *"bcdefghijklmnopqrtuv"]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, "<blank>"])}
    assert len(vocabulary) == base.vocab_size - 1 == len(LETTERS)  # one logit has no piece
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    base.tokenizer = ParakeetTokenizer(
        tokenizer_object=backend, pad_token="<blank>", unk_token="<unk>"
    )
    base.model.config.pad_token_id = vocabulary["<blank>"]
    said = ["▁the", "<blank>", "▁dock", "s", "s", "<blank>", "s", "▁", "b", "ing", "▁a", "<unk>"]
    path = [vocabulary[piece] for piece in said]
    assert base.decode_path(path) == "the dockss bing a"
    assert search(base, sure(base, path)[:, :-1]) == "the dockss bing a"


def test_it_finds_the_most_probable_text_of_all(base):
    """By adding up every alignment of every text, for logits small enough to do so."""
    otherwise = 0
    for seed in range(25):
        logits = unsure(base, "a b", seed)
        best = max((found := _all_texts(base, logits)), key=found.__getitem__)
        assert search(base, logits, width=10_000) == best
        otherwise += best != base.decode(logits, torch.tensor([5]))[0]
    assert otherwise > 3, "greedy decoding found them all: nothing was proved"


def test_it_finds_the_best_sum_of_audio_and_language_model(base, lm):
    bigrams, changed = _Bigrams(lm), 0
    for seed in range(25):
        logits = unsure(base, "ab ", seed, frames=6)
        plain = _all_texts(base, logits)
        scored = {
            text: value + bigrams.score(text, 0.5, 1.5, 10.0) for text, value in plain.items()
        }
        best = max(scored, key=scored.__getitem__)
        assert search(base, logits, width=10_000, lm=lm) == best
        changed += best != max(plain, key=plain.__getitem__)
    assert changed > 5, "the language model changed nothing"


def test_every_form_of_a_language_model_gives_the_same_text(base, tmp_path):
    """``tiny.bin`` and ``tiny-trie.bin`` are build_binary's of KenLM 0.3.0 from ``tiny.arpa``."""
    packed = tmp_path / "tiny.arpa.gz"
    packed.write_bytes(gzip.compress((GOLDEN / "tiny.arpa").read_bytes()))
    files = [GOLDEN / "tiny.arpa", packed, GOLDEN / "tiny.bin", GOLDEN / "tiny-trie.bin"]
    assert {tuple(sorted(read_language_model(file).words)) for file in files} == {("ab", "ba")}
    plain = [search(base, unsure(base, "ab ", seed, 12)) for seed in range(10)]
    texts = [
        [search(base, unsure(base, "ab ", seed, 12), lm=f) for seed in range(10)] for f in files
    ]
    assert texts[0] == texts[1] == texts[2] == texts[3] != plain


def test_a_listed_term_is_heard_where_it_nearly_was(base, tmp_path):
    words = tmp_path / "terms.txt"
    words.write_text("# of the dock\nKeg\n", "utf-8")
    logits = sure(base, base.encode("a key "))
    logits[0, 4, base.encode("g")] = 47.0
    assert search(base, logits) == "a key"
    assert search(base, logits, words=words) == "a keg"
    assert search(base, logits, words=words, words_weight=0.0) == "a key"


def test_an_utterance_is_decoded_alike_in_any_batch(base, lm):
    logits = torch.cat([unsure(base, "ab ", seed, 30) for seed in range(4)])
    lengths = torch.tensor([30, 12, 1, 25])
    beam = BeamDecoder(BeamSettings(lm=lm)).on(base)
    together = beam.decode(logits, lengths)
    alone = [beam.decode(logits[i : i + 1], lengths[i : i + 1])[0] for i in (3, 2, 1, 0)]
    assert together == alone[::-1]
    assert beam.decode(logits, lengths) == together


def test_a_model_of_the_departments_texts_halves_the_errors_on_its_recordings(tmp_path):
    folder = example_department()
    rows = [line.split(",") for line in (folder / "metadata.csv").read_text().splitlines()[1:]]
    lm = write_arpa(tmp_path / "dock.arpa", [row[1] for row in rows if row[3] == "train"])
    heard = [row for row in rows if row[3] == "dev"]
    base = load_base("starter")
    waves = [decode(folder / row[0]).samples for row in heard]
    beam = BeamDecoder(BeamSettings(lm=lm)).on(base)
    features = base.features(waves)
    references = [row[1] for row in heard]
    greedy = rate(count(references, recognise_features(base, features)))
    searched = rate(count(references, recognise_features(base, features, beam)))
    assert len(heard) == 20
    assert searched < 0.65 * greedy


def test_kenlm_says_nothing_to_the_user(base, lm, capfd):
    BeamDecoder(BeamSettings(lm=lm)).on(base)
    assert capfd.readouterr() == ("", "")


HEAD = b"\\data\\\nngram 1=1\nngram 2=1\n\n\\1-grams:\n"
END = b"\n\\2-grams:\n-1\tab ab\n\n\\end\\\n"
BAD = {
    "empty": (b"", "is empty"),
    "no model": (b"the dock is open\n", "is no language model"),
    "a program": (Path(sys.executable).read_bytes()[:5000], "is no language model"),
    "cut in its 1-grams": (HEAD + b"-1\tab\t0\n", "is cut off"),
    "cut in its 2-grams": (HEAD + b"-1\tab\t0\n" + END[:14], "no language model: "),
    "no words": (HEAD + b"-1\t<unk>\n" + END, "knows no word"),
    "only 1-grams": (
        HEAD.replace(b"ngram 2=1\n", b"") + b"-1\tab\n\n\\end\\\n",
        "not even a bigram",
    ),
    "wrong count": (HEAD.replace(b"2=1", b"2=7") + b"-1\tab\t0\n" + END, "no language model: "),
    "no UTF-8": (HEAD + b"-1\t\xff\t0\n" + END, "no UTF-8"),
    "cut-off gzip": (gzip.compress(HEAD)[:20], "cut off"),
    "cut-off binary": ((GOLDEN / "tiny.bin").read_bytes()[:200], "without its words"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_no_language_model_is_refused(what, base, tmp_path):
    content, problem = BAD[what]
    file = tmp_path / "lm.arpa"
    file.write_bytes(content)
    with pytest.raises(InputError, match=problem) as refused:
        BeamDecoder(BeamSettings(lm=file)).on(base)
    assert str(file) in refused.value.problem
    assert refused.value.problem.isprintable()


@pytest.mark.parametrize("name", ["gone.arpa", "."])
def test_a_file_that_cannot_be_read_is_refused(name, tmp_path):
    for settings in (BeamSettings(lm=tmp_path / name), BeamSettings(words=tmp_path / name)):
        with pytest.raises(InputError, match="cannot be read"):
            BeamDecoder(settings)


def test_a_language_model_in_another_case_is_refused_with_an_example(base, tmp_path):
    loud = write_arpa(tmp_path / "loud.arpa", [sentence.upper() for sentence in SENTENCES])
    with pytest.raises(InputError, match=r"100 %.*AB") as refused:
        BeamDecoder(BeamSettings(lm=loud)).on(base)
    assert "'ab'" in refused.value.fix


def test_terms_that_the_base_cannot_write_are_left_out_and_told(base, tmp_path):
    words = tmp_path / "terms.txt"
    words.write_text("QX-70\n東京\nkeg\n---\nKEG\ncold  room\n", "utf-8-sig")
    record = BeamDecoder(BeamSettings(words=words)).on(base).record
    assert record.unwritable == ["QX-70", "東京", "---"]
    assert record.terms == 2
    words.write_text("QX-70\n", "utf-8")
    with pytest.raises(InputError, match="none of its terms: QX-70"):
        BeamDecoder(BeamSettings(words=words)).on(base)


@pytest.mark.parametrize(
    "content", [b"", b"# nothing but this\n\n", b"k\0g\n", b"\xff\xfe\x00"], ids=str
)
def test_a_file_without_terms_is_refused(content, tmp_path):
    words = tmp_path / "terms.txt"
    words.write_bytes(content)
    with pytest.raises(InputError, match=r"terms\.txt"):
        BeamDecoder(BeamSettings(words=words))


@pytest.mark.parametrize(
    "settings",
    [{"width": 0}, {"lm_weight": -1.0}, {"words_weight": math.nan}, {"unknown_penalty": -1.0}],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UsageError):
        BeamDecoder(BeamSettings(**settings))


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    with pytest.raises(MachineError) as refused:
        BeamDecoder(BeamSettings())
    assert "pip install 'tpactl[beam]'" in refused.value.fix


def test_a_tokenizer_that_writes_otherwise_is_refused(base, monkeypatch):
    monkeypatch.setattr(base, "decode_path", lambda path: "another text")
    with pytest.raises(BaseError, match="another text"):
        BeamDecoder(BeamSettings()).on(base)


def _all_texts(base, logits) -> dict[str, float]:
    """Return the logarithm of each text's probability, over all its alignments."""
    scores = torch.log_softmax(logits[0].double(), -1)
    tokens = [int(token) for token in (logits[0, 0] > -40).nonzero()[:, 0]]
    found: dict[str, float] = defaultdict(float)
    for path in itertools.product(tokens, repeat=len(scores)):
        value = sum(float(scores[frame, token]) for frame, token in enumerate(path))
        found[base.decode_path(list(path))] += math.exp(value)
    return {text: math.log(value) for text, value in found.items()}


class _Bigrams:
    """An ARPA file read the slow way."""

    def __init__(self, path: Path) -> None:
        self.log10: dict[tuple[str, ...], float] = {}
        self.backoff: dict[str, float] = {}
        for line in path.read_text().splitlines():
            fields = line.split("\t")
            if len(fields) > 1:
                words = tuple(fields[1].split())
                self.log10[words] = float(fields[0])
                if len(fields) > 2:
                    self.backoff[words[0]] = float(fields[2])

    def score(self, text: str, weight: float, bonus: float, penalty: float) -> float:
        total, before = 0.0, "<s>"
        words = text.split()
        for word in [*words, "</s>"] if words else []:
            known = word if (word,) in self.log10 else "<unk>"
            value = self.log10.get((before, known))
            if value is None:
                value = self.backoff.get(before, 0.0) + self.log10[(known,)]
            total += weight * math.log(10) * (value - penalty * (known == "<unk>"))
            total += bonus * (word != "</s>")
            before = known
        return total


@pytest.mark.parametrize("family", TRANSDUCERS)
def test_a_transducer_is_refused(family, tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base", family)))
    with pytest.raises(BaseError, match=r"is a transducer .* reads the logits of CTC"):
        BeamDecoder(BeamSettings()).on(base)
