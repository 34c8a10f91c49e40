"""A department's terms, from a text file to recall and precision of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tpactl.errors import InputError
from tpactl.eval.measure import Measure, Scores, tokens
from tpactl.formats.report import Glossary, Metric, Term, TermResult
from tpactl.formats.terms import read_term_file
from tpactl.scoring.alignment import align
from tpactl.scoring.normalise import Normaliser
from tpactl.scoring.terms import TermCounts, count_term


@dataclass(frozen=True)
class TermList:
    """The terms of a file: as written, and under the normaliser."""

    path: Path
    digest: str
    terms: dict[str, str]


def read_terms(path: Path, normaliser: Normaliser) -> TermList:
    """Return the terms of a file as ``normaliser`` writes them.

    Raises:
        InputError: as ``read_term_file``, or the normaliser leaves nothing of a term.
    """
    file = read_term_file(path)
    terms: dict[str, str] = {}
    for term in file.terms:
        normalised = normaliser(term)
        # Two spellings of one normalised term would count it twice.
        if normalised not in terms.values():
            terms[term] = normalised
    empty = [term for term, normalised in terms.items() if not normalised]
    if empty:
        raise InputError(
            f"{path}: {normaliser.name} leaves nothing of: {', '.join(empty)}",
            "give one term a line, with letters or digits",
        )
    return TermList(path, file.digest, terms)


def glossary(
    terms: TermList, measure: Measure, scores: Mapping[str, Scores], metric: Metric
) -> Glossary:
    """Return how each system fares with each term, and with all of them.

    Args:
        terms: what ``read_terms`` gave.
        measure: the references.
        scores: of all systems, by name.
        metric: terms are looked for by word, or by character.
    """
    counts = {name: _count(terms, measure, each, metric) for name, each in scores.items()}
    return Glossary(
        path=str(terms.path),
        digest=terms.digest,
        terms=[
            Term(
                term=term,
                normalised=normalised,
                results=[_result(name, of_system[term]) for name, of_system in counts.items()],
            )
            for term, normalised in terms.terms.items()
        ],
        total=[
            _result(name, sum(of_system.values(), TermCounts()))
            for name, of_system in counts.items()
        ],
    )


def _count(
    terms: TermList, measure: Measure, scores: Scores, metric: Metric
) -> dict[str, TermCounts]:
    wanted = {term: tokens(normalised, metric) for term, normalised in terms.terms.items()}
    found = dict.fromkeys(wanted, TermCounts())
    for reference, heard in zip(
        (tokens(text, metric) for text in measure.references), scores.tokens(metric), strict=True
    ):
        alignment = align(reference, heard)
        present = {*reference, *heard}
        for term, words in wanted.items():
            if present.issuperset(words):
                found[term] += count_term(words, reference, heard, alignment)
    return found


def _result(system: str, counts: TermCounts) -> TermResult:
    return TermResult(
        system=system,
        in_reference=counts.in_reference,
        in_hypothesis=counts.in_hypothesis,
        correct=counts.correct,
        recall=counts.recall,
        precision=counts.precision,
    )
