"""Beam search: texts that fit the audio and a language model or a department's terms as well.

Greedy decoding takes each frame's best token. Beam search keeps the best beginnings of a text
instead, each scored by all its alignments (Hannun et al. 2014, arXiv:1408.2873), and adds to them
what an n-gram model gives each word and a bonus for each listed term. The search is
``ctc-beam-decoder``'s, which follows pyctcdecode; see docs/decisions/beam-search.md.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import fields
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tpactl.bases.base import Base
from tpactl.bases.language_model import LanguageModel, read_language_model
from tpactl.bases.quiet import silent_stderr
from tpactl.errors import BaseError, InputError, MachineError, UsageError, reason_of
from tpactl.formats.decoding import BeamSearch, BeamSettings
from tpactl.formats.terms import TermFile, read_term_file

_LIBRARY = "ctc-beam-decoder"
_SPACE_IN_PIECES = "▁"
"""Begins each piece that begins a word (SentencePiece's own mark)."""
_PRIVATE_USE = 0xF0000
"""From here on no text has characters: labels of tokens that are never written."""
_NEVER = -100.0
"""Logarithm of the probability of a token that must not be written."""
_FEWEST_WRITABLE = 0.5
"""Share of a language model's words that the base must be able to write."""
_LOOKED_AT = 2000
"""Words of a language model, evenly over all, by which that is told."""


class BeamDecoder:
    """The settings with their files read, before a base is there.

    Raises:
        UsageError: a setting is out of range.
        InputError: a file is not what it must be.
        MachineError: the library is not installed.
    """

    def __init__(self, settings: BeamSettings) -> None:
        _check(settings)
        self.settings = settings
        self._library = _import_library()
        self._lm = None if settings.lm is None else read_language_model(settings.lm)
        self._terms = None if settings.words is None else read_term_file(settings.words)
        self._searches: dict[tuple[str, ...], Any] = {}

    def on(self, base: Base) -> Beam:
        """Return the search over what ``base`` writes; models of one alphabet share one.

        Raises:
            BaseError: it is no CTC base, or its tokens are neither characters nor SentencePiece's
                pieces.
            InputError: KenLM refuses the language model, or the base cannot write its words, or
                none of the terms.
        """
        if base.decoder.name != "ctc":
            raise BaseError(
                f"base {base.ref!r} is a transducer ({base.decoder.name}): beam search reads the "
                "logits of CTC",
                "decode greedily, or choose a CTC base",
            )
        labels, silent = _labels(base)
        _check_spelling(base, self._library.build_ctcdecoder(list(labels)))
        terms, unwritable = _spelt(base, self._terms)
        if self._lm is not None:
            _check_words(base, self._lm)
        if labels not in self._searches:
            self._searches[labels] = self._search(labels)
        return Beam(self._searches[labels], silent, terms, self._record(terms, unwritable))

    def _search(self, labels: tuple[str, ...]) -> Any:
        if self._lm is None:
            return self._library.build_ctcdecoder(list(labels))
        try:
            with silent_stderr():
                return self._library.build_ctcdecoder(
                    list(labels),
                    kenlm_model_path=self._lm.path,
                    unigrams=self._lm.words,
                    alpha=self.settings.lm_weight,
                    beta=self.settings.word_bonus,
                    unk_score_offset=-self.settings.unknown_penalty,
                )
        except (ValueError, RuntimeError, OSError) as error:
            raise InputError(
                f"{self._lm.path}: no language model: {_reason_of_kenlm(error)}",
                "make it again, of order 2 or more, with KenLM's lmplz or another maker of ARPA",
            ) from error

    def _record(self, terms: Sequence[str], unwritable: Sequence[str]) -> BeamSearch:
        settings = self.settings
        files = [file for file in (settings.lm, settings.words) if file is not None]
        return BeamSearch(
            width=settings.width,
            lm=None if self._lm is None else str(self._lm.path),
            lm_digest=None if self._lm is None else self._lm.digest,
            lm_weight=settings.lm_weight,
            word_bonus=settings.word_bonus,
            unknown_penalty=settings.unknown_penalty,
            words=None if self._terms is None else str(self._terms.path),
            words_digest=None if self._terms is None else self._terms.digest,
            words_weight=settings.words_weight,
            terms=len(terms),
            unwritable=list(unwritable),
            size_bytes=sum(file.stat().st_size for file in files),
            library=f"{_LIBRARY} {metadata.version(_LIBRARY)}",
        )


class Beam:
    """Beam search over the logits of one base.

    Attributes:
        record: how it is set, for reports.
    """

    def __init__(
        self, search: Any, silent: Sequence[int], terms: Sequence[str], record: BeamSearch
    ) -> None:
        self._search = search
        self._silent = list(silent)
        self._terms = list(terms)
        self.record = record

    @torch.inference_mode()
    def decode(self, logits: Tensor, lengths: Tensor) -> list[str]:
        """Return the best text of each utterance, however they are batched.

        Args:
            logits: (batch, frames, vocabulary).
            lengths: (batch,) valid frames of each utterance.
        """
        scores = torch.log_softmax(logits.float(), -1)
        scores[..., self._silent] = _NEVER
        rows = scores.cpu().numpy()
        return [self._text(row[:n]) for row, n in zip(rows, lengths.tolist(), strict=True)]

    def _text(self, scores: np.ndarray) -> str:
        text: str = self._search.decode(
            scores,
            beam_width=self.record.width,
            hotwords=self._terms,
            hotword_weight=self.record.words_weight,
        )
        return " ".join(text.split())


def _check(settings: BeamSettings) -> None:
    faults = [
        f"{field.name} is {value}"
        for field in fields(settings)
        if isinstance(value := getattr(settings, field.name), float) and not np.isfinite(value)
    ]
    if settings.width < 1:
        faults.append(f"the beam width is {settings.width}")
    weights = {
        "the language model's weight": settings.lm_weight,
        "the penalty of unknown words": settings.unknown_penalty,
        "the terms' weight": settings.words_weight,
    }
    faults += [f"{name} is {weight}" for name, weight in weights.items() if weight < 0]
    if faults:
        raise UsageError("; ".join(faults), "give a width of 1 or more, and weights of 0 or more")


def _import_library() -> Any:
    try:
        import ctc_beam_decoder
    except ImportError as error:
        raise MachineError(
            f"beam search needs {_LIBRARY}, which is not installed", "pip install 'tpactl[beam]'"
        ) from error
    try:
        loaded = ctc_beam_decoder.has_kenlm()
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"{_LIBRARY} does not load here: {reason_of(error)}",
            "pip install --force-reinstall 'tpactl[beam]', or decode greedily",
        ) from error
    if not loaded:
        raise MachineError(
            f"{_LIBRARY} was built without KenLM", "pip install --force-reinstall 'tpactl[beam]'"
        )
    return ctc_beam_decoder


def _labels(base: Base) -> tuple[tuple[str, ...], list[int]]:
    """Return what each token writes, as the library reads it, and the tokens that write nothing.

    The library takes a vocabulary with ``▁`` for pieces, any other for characters; in both the
    blank is the empty string, and a space between words is a space.
    """
    tokenizer = base.tokenizer
    known = min(len(tokenizer), base.vocab_size)
    tokens = tokenizer.convert_ids_to_tokens(list(range(known)))
    tokens += [None] * (base.vocab_size - known)
    delimiter = getattr(tokenizer, "word_delimiter_token", None)
    special = set(tokenizer.all_special_ids) - {base.blank_id}
    labels: list[str] = []
    silent: list[int] = []
    for index, token in enumerate(tokens):
        if index == base.blank_id:
            labels.append("")
        elif token is not None and token == delimiter:
            labels.append(" ")
        elif not token or index in special:
            labels.append(chr(_PRIVATE_USE + index))
            silent.append(index)
        else:
            labels.append(token)
    if len(set(labels)) != len(labels):
        raise BaseError(
            f"base {base.ref!r} has tokens that write the same: beam search cannot tell them apart",
            "decode greedily, or choose another base",
        )
    return tuple(labels), silent


def _check_spelling(base: Base, search: Any) -> None:
    """Raise where the search writes another text than the tokenizer for the same tokens."""
    ids = base.encode(" ".join(string.ascii_letters + string.digits) + " " + string.ascii_letters)
    if not ids:
        return
    path = [token for label in ids for token in (label, base.blank_id)]
    scores = np.full((len(path), base.vocab_size), _NEVER, dtype=np.float32)
    scores[np.arange(len(path)), path] = 0.0
    expected = base.decode_path(path)
    written = " ".join(search.decode(scores, beam_width=1).split())
    if written != expected:
        raise BaseError(
            f"base {base.ref!r}: its tokenizer writes {expected[:30]!r} where beam search writes "
            f"{written[:30]!r}",
            "decode greedily, or choose a base whose tokens are characters or pieces with "
            f"{_SPACE_IN_PIECES}",
        )


def _spelt(base: Base, file: TermFile | None) -> tuple[list[str], list[str]]:
    """Return the terms in the base's alphabet, and those it cannot write."""
    if file is None:
        return [], []
    unwritable = [
        term for term in file.terms if base.unknown_characters(term) or not base.prepare_text(term)
    ]
    left_out = set(unwritable)
    terms = [base.prepare_text(term) for term in file.terms if term not in left_out]
    if not terms:
        raise InputError(
            f"{file.path}: base {base.ref} can write none of its terms: "
            f"{', '.join(unwritable[:5])}",
            "write them in letters that the base knows, as they are spoken",
        )
    return list(dict.fromkeys(terms)), unwritable


def _check_words(base: Base, lm: LanguageModel) -> None:
    """Raise where the base writes in another alphabet or case than the language model."""
    some = lm.words[:: max(1, len(lm.words) // _LOOKED_AT)]
    strange = [word for word in some if base.prepare_text(word) != word]
    if len(strange) > (1 - _FEWEST_WRITABLE) * len(some):
        shown = ", ".join(strange[:3])
        share = f"{100 * len(strange) / len(some):.0f} %"
        like = base.prepare_text(strange[0])
        raise InputError(
            f"{lm.path}: base {base.ref} writes {share} of its words otherwise, or not at all: "
            f"{shown}",
            "make it from texts as the base writes them"
            + (f", such as {like!r}" if like else "")
            + ": same case, no punctuation, whole words",
        )


def _reason_of_kenlm(error: BaseException) -> str:
    """Return the last line of KenLM's message without its place in the source and the file."""
    last = str(error).strip().splitlines()[-1].partition(" Byte: ")[0]
    return "".join(character for character in last if character.isprintable())[-200:]
