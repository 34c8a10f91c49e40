"""The words most often taken for others."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from tpactl.eval.page.alignment import most_common
from tpactl.eval.page.heard import Survey
from tpactl.eval.page.sections.block import Block, TitledTable
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words

MOST_CONFUSIONS = 15
MOST_WORDS = 8


T = TypeVar("T")


def confusions(subject: Subject, survey: Survey, t: Words) -> Block | None:
    """Return the most frequent confusions of the system and of the base."""
    mine = survey.confusions.get(subject.system.name)
    base = survey.confusions.get(subject.base.name)
    if mine is None or base is None:
        return None
    own = [] if subject.is_base else [subject.base.name]
    names = [subject.system.name, *own]

    def counts(key: T, mine_of: Counter[T], base_of: Counter[T]) -> list[str]:
        return [str(mine_of[key]), *(str(base_of[key]) for _ in own)]

    tables = []
    pairs = most_common(mine.substitutions, MOST_CONFUSIONS)
    if pairs:
        rows = [
            [said, heard, *counts((said, heard), mine.substitutions, base.substitutions)]
            for (said, heard), _ in pairs
        ]
        tables.append(
            TitledTable([t("reference"), t("heard"), *names], rows, 2, title=t("confusions_table"))
        )
    for title, heading, of_mine, of_base in (
        (t("deletions_table"), t("reference"), mine.deletions, base.deletions),
        (t("insertions_table"), t("heard"), mine.insertions, base.insertions),
    ):
        words = sorted(of_mine.items(), key=lambda item: (-item[1], item[0]))[:MOST_WORDS]
        if words:
            rows = [[word, *counts(word, of_mine, of_base)] for word, _ in words]
            tables.append(TitledTable([heading, *names], rows, title=title))
    if not tables:
        return None
    about = t("confusions_about", system=subject.system.name, base=subject.base.name)
    return Block("confusions", t("confusions"), [about], tables=tables, side_by_side=True)
