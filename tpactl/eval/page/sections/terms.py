"""The department's own terms, found and missed."""

from __future__ import annotations

from tpactl.eval.page import axes
from tpactl.eval.page.plots import DataTable, interval_plot
from tpactl.eval.page.sections.block import Block, Note, TitledPlot, TitledTable
from tpactl.eval.page.sections.figures import joined
from tpactl.eval.page.subject import Subject
from tpactl.eval.page.words import Words
from tpactl.formats.report import TermResult

MOST_TERMS = 30


def terms(subject: Subject, t: Words) -> Block | None:
    """Return recall and precision of the glossary's terms."""
    glossary = subject.report.glossary
    if glossary is None:
        return None
    none = t("not_available")
    names = [subject.system.name]
    if not subject.is_base:
        names.append(subject.base.name)

    def share(value: float | None) -> str:
        return none if value is None else t.percent(value, 0)

    def row(term: str, results: list[TermResult]) -> list[str]:
        by_system = {result.system: result for result in results}
        mine = by_system[names[0]]
        return [
            term,
            str(mine.in_reference),
            *(share(by_system[name].recall) for name in names),
            *(share(by_system[name].precision) for name in names),
        ]

    def recall(results: list[TermResult]) -> float:
        found = next(r.recall for r in results if r.system == names[0])
        return 2.0 if found is None else found

    ordered = sorted(glossary.terms, key=lambda term: recall(term.results))
    columns = [
        t("term"),
        t("said"),
        *(t("recall_of", system=name) for name in names),
        *(t("precision_of", system=name) for name in names),
    ]
    rows = [row(t("all_terms"), glossary.total)]
    rows += [row(term.term, term.results) for term in ordered[:MOST_TERMS]]
    block = Block("terms", t("terms"), [t("terms_about")], tables=[TitledTable(columns, rows)])
    if len(ordered) > MOST_TERMS:
        block.notes.append(Note(t("terms_more", shown=MOST_TERMS, n=len(ordered))))
    heard = [result for result in glossary.total if result.recall is not None]
    if heard:
        summary = [[r.system, str(r.in_reference), share(r.recall), share(r.precision)]
                   for r in glossary.total]  # fmt: skip
        plot = interval_plot(
            t("terms_label", list=joined((f"{r.system} {share(r.recall)}" for r in heard), t)),
            axes.linear([1.0], lambda value: t.percent(value, 0)),
            t("terms_axis"),
            [
                (
                    r.system,
                    subject.style(r.system),
                    r.recall or 0.0,
                    None,
                    None,
                    share(r.recall),
                    "",
                )
                for r in heard
            ],
            DataTable(
                [
                    t("system"),
                    t("said"),
                    t("recall_of", system=t("all_terms")),
                    t("precision_of", system=t("all_terms")),
                ],
                summary,
            ),
        )
        block.intervals.append(TitledPlot("", plot))
    return block
