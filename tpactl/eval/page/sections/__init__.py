"""The page's sections, each from one part of the report; a part that was not measured has none."""

from __future__ import annotations

from tpactl.eval.page.heard import Survey
from tpactl.eval.page.sections.block import Block
from tpactl.eval.page.sections.confusions import confusions
from tpactl.eval.page.sections.costs import costs
from tpactl.eval.page.sections.gate import gate
from tpactl.eval.page.sections.general import general
from tpactl.eval.page.sections.rates import comparisons, rates
from tpactl.eval.page.sections.slices import slices
from tpactl.eval.page.sections.stress import stress
from tpactl.eval.page.sections.terms import terms
from tpactl.eval.page.sections.training import training
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words
from tpactl.formats.gate import GateRecord


def blocks(subject: Subject, survey: Survey, decision: GateRecord | None, t: Words) -> list[Block]:
    """Return the sections that this report has, in the order of the page."""
    made = (
        gate(decision, t),
        rates(subject, t),
        comparisons(subject, t),
        slices(subject, t),
        general(subject, t),
        terms(subject, t),
        stress(subject, t),
        costs(subject, t),
        training(subject, t),
        confusions(subject, survey, t),
    )
    return [block for block in made if block is not None]
