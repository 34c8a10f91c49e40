"""``report.html``: everything a reader of the report needs, in one file that loads nothing.

Reads ``report.json`` and ``utterances.jsonl``, and the recordings of the worst utterances where the
data still lie; writes ``report.html`` beside them. Equal inputs give equal bytes.

Transcripts, names and paths come from elsewhere: templates escape them, the script puts them in as
text, and the page's content security policy lets no other script run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import jinja2

from tpactl.eval.leaks import alike, is_slight
from tpactl.eval.page.heard import ShownUtterance, Survey, fetch, survey
from tpactl.eval.page.recordings import Recordings, recordings
from tpactl.eval.page.sections import blocks
from tpactl.eval.page.sections.block import Block, Note
from tpactl.eval.page.subject import Subject, subject_of
from tpactl.eval.page.verdict import Answer, Tile, Verdict, answers, kind_of, tiles, verdict
from tpactl.eval.page.words import Words, texts
from tpactl.formats.decoding import BeamSearch
from tpactl.formats.files import write_bytes
from tpactl.formats.gate import GateRecord, read_gate
from tpactl.formats.report import Report, read_report

PAGE_FILE = "report.html"
MOST_WORST = 10
"""Utterances shown with a player."""
MOST_LISTED = 400
"""Utterances in the list to search; a page of 400 short ones and four systems is about 1 MB."""

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class WrittenPage:
    """What was written."""

    path: Path
    size_bytes: int
    utterances: int
    """In the list to search."""
    recordings: int
    """With a player."""


@dataclass(frozen=True)
class _Content:
    """What the template shows."""

    subject: str
    subject_system: str
    data_name: str
    verdict: Verdict
    tiles: list[Tile]
    answers: list[Answer]
    warnings: list[Note]
    contents: list[tuple[str, str]]
    blocks: list[Block]
    systems: list[str]
    worst: list[ShownUtterance]
    sound: Mapping[str, str]
    sound_notes: list[str]
    browser: str
    browser_count: int
    speakers: list[str]
    filters: list[str]
    sorts: list[str]
    method_about: list[str]
    facts: list[tuple[str, str]]


def write_page(
    folder: Path,
    *,
    language: str = "en",
    audio: bool = True,
    system: str | None = None,
    out: Path | None = None,
) -> WrittenPage:
    """Write the page of the report in ``folder``, with the gate's decision where one was made.

    Args:
        folder: what ``tpactl eval --out`` wrote.
        language: ``en`` or ``ja``.
        audio: whether the worst utterances get players; without it no recording is opened.
        system: the one the page is about; ``None`` takes the best adapter that is not the
            incumbent.
        out: the file to write; ``None`` is ``folder/report.html``.

    Raises:
        UsageError: no such language or system.
        InputError: no report is there, it is damaged, or the decision beside it judged another.
        MachineError: the page cannot be written.
    """
    t = Words(language)
    report = read_report(folder)
    decision = read_gate(folder)
    subject = subject_of(report, system or (decision.system.name if decision else None))
    rows = folder / "utterances.jsonl"
    found = survey(rows, {subject.system.name, subject.base.name}, report.metric)
    worst = found.worst(subject.system.name, MOST_WORST)
    listed = _listed(found, subject)
    shown = fetch(rows, {*worst, *listed}, report.metric)
    sound = recordings(report, worst) if audio else Recordings()

    content = _content(
        subject,
        found,
        [shown[id_] for id_ in worst],
        [row for id_, row in shown.items() if id_ in listed],
        sound,
        audio,
        decision,
        t,
    )
    page = _render(report, content, t).encode()
    path = out or folder / PAGE_FILE
    write_bytes(path, page)
    return WrittenPage(path, len(page), len(listed), len(sound.addresses))


def _listed(found: Survey, subject: Subject) -> set[str]:
    """Return the ids of the list to search: all, or the worst and the most harmed."""
    name, base = subject.system.name, subject.base.name
    every = found.errors.get(name, {})
    if len(every) <= MOST_LISTED:
        return set(every)
    harmed = found.most_harmed(name, base, MOST_LISTED // 2)
    most = [id_ for id_ in found.worst(name, MOST_LISTED) if id_ not in set(harmed)]
    return {*harmed, *most[: MOST_LISTED - len(harmed)]}


def _content(
    subject: Subject,
    found: Survey,
    worst: list[ShownUtterance],
    listed: list[ShownUtterance],
    sound: Recordings,
    audio: bool,
    decision: GateRecord | None,
    t: Words,
) -> _Content:
    report = subject.report
    systems = [system.name for system in report.systems]
    sections = blocks(subject, found, decision, t)
    compares = not subject.is_base
    sorts = ["errors", "rate", *(["harmed", "helped"] if compares else []), "longest", "order"]
    contents = [("summary", t("summary")), *((block.anchor, block.title) for block in sections)]
    contents += [("worst", t("worst"))] if worst else []
    contents += [("browser", t("browser"))] if listed else []
    contents += [("method", t("method"))]
    return _Content(
        subject=subject.system.name,
        subject_system=subject.system.name,
        data_name=PurePath(report.data_path).name or report.data_path,
        verdict=verdict(subject, t),
        tiles=tiles(subject, t),
        answers=answers(subject, found, t),
        warnings=_warnings(report, t),
        contents=contents,
        blocks=sections,
        systems=systems,
        worst=worst,
        sound=sound.addresses,
        sound_notes=_sound_notes(sound, audio, t),
        browser=_browser_data(subject, listed, t) if listed else "",
        browser_count=len(listed),
        speakers=sorted({row.speaker for row in listed if row.speaker}),
        filters=["all", "wrong", *(["worse", "better"] if compares else [])],
        sorts=sorts,
        method_about=[t("method_about")],
        facts=_facts(subject, t),
    )


def _warnings(report: Report, t: Words) -> list[Note]:
    found = []
    for leak, systems in alike(report):
        slight = is_slight(leak, report)
        if leak.data == "test":
            key = "leak_warning_slight" if slight else "leak_warning"
        else:
            key = "leak_general_slight" if slight else "leak_general"
        text = t(
            key,
            system=t("and").join(systems),
            n=leak.utterances,
            of=report.utterances,
            speakers=leak.speakers,
            texts=leak.same_text,
            audio=leak.same_audio,
        )
        found.append(Note(text, "unsure" if slight else "bad"))
    if report.empty_references:
        text = t("empty_warning", n=report.empty_references, of=report.utterances)
        found.append(Note(text, "unsure"))
    if report.systems[0].wer.low is None:
        found.append(Note(t("few_speakers"), "unsure"))
    return found


def _sound_notes(sound: Recordings, audio: bool, t: Words) -> list[str]:
    if not audio:
        return [t("sound_off")]
    left_out = sound.too_long + sound.beyond_budget
    notes = [t("sound_missing", n=sound.missing)] if sound.missing else []
    return notes + ([t("sound_budget", n=left_out)] if left_out else [])


def _facts(subject: Subject, t: Words) -> list[tuple[str, str]]:
    report, interval = subject.report, subject.report.interval

    def data(path: str, digest: str, split: str, utterances: int, seconds: float) -> str:
        return t(
            "data_fact",
            path=path,
            digest=_short(digest),
            split=split,
            utterances=f"{utterances:,}",
            duration=t.duration(seconds),
        )

    facts = [
        (
            t("fact_data"),
            data(
                report.data_path,
                report.data_digest,
                report.split,
                report.utterances,
                report.duration_s,
            ),
        )
    ]
    general = report.general
    if general is not None:
        facts.append(
            (
                t("fact_general"),
                data(
                    general.data_path,
                    general.data_digest,
                    general.split,
                    general.utterances,
                    general.duration_s,
                ),
            )
        )
    facts += [
        (t("fact_base"), t("digest_fact", name=report.base_ref, digest=_short(report.base_digest))),
        (t("fact_normaliser"), f"{report.normaliser.name} {report.normaliser.version}"),
        (
            t("fact_intervals"),
            t(
                "intervals_fact",
                confidence=f"{interval.confidence:.0%}",
                unit=t(f"unit_{interval.unit}"),
                method=interval.method,
                resamples=interval.resamples,
                seed=interval.seed,
            ),
        ),
    ]
    facts += [
        (f"{t('fact_systems')}: {system.name}", f"{kind_of(system, subject, t)}; {system.digest}")
        for system in report.systems
    ]
    if report.beam is not None:
        facts.append((t("fact_beam"), _search(report.beam, t)))
    return [*facts, (t("fact_device"), report.device)]


def _search(beam: BeamSearch, t: Words) -> str:
    parts = [t("beam_width", width=beam.width)]
    if beam.lm is not None and beam.lm_digest is not None:
        file = t("digest_fact", name=beam.lm, digest=_short(beam.lm_digest))
        parts.append(
            t(
                "beam_lm",
                file=file,
                weight=f"{beam.lm_weight:g}",
                bonus=f"{beam.word_bonus:g}",
                penalty=f"{beam.unknown_penalty:g}",
            )
        )
    if beam.words is not None and beam.words_digest is not None:
        file = t("digest_fact", name=beam.words, digest=_short(beam.words_digest))
        parts.append(t("beam_words", n=beam.terms, file=file, weight=f"{beam.words_weight:g}"))
    return "; ".join([*parts, beam.library])


def _short(digest: str) -> str:
    return digest[:19]


def _browser_data(subject: Subject, listed: Sequence[ShownUtterance], t: Words) -> str:
    """Return the list to search as JSON that can stand inside a page."""
    script_words = ("no_words", "nothing", "speaker", "recording_of", "heard_as",
                    "errors_in_words", "found")  # fmt: skip
    value: dict[str, Any] = {
        "base": subject.base.name,
        "between": "" if subject.report.metric == "cer" else " ",
        "systems": [system.name for system in subject.report.systems],
        "words": {key: texts(t.language)[key] for key in script_words},
        "utterances": [
            {
                "id": row.id,
                "speaker": row.speaker,
                "duration": row.duration_s,
                "shown_duration": t.duration(row.duration_s),
                "reference": row.reference,
                "direction": row.direction,
                "length": row.length,
                "heard": {
                    name: {
                        "errors": hearing.errors,
                        # A word that was right once, any other pair as both its halves.
                        "pairs": [
                            pair.reference if pair.kind == "hit" else [pair.reference, pair.heard]
                            for pair in hearing.pairs
                        ],
                    }
                    for name, hearing in row.hearings.items()
                },
            }
            for row in listed
        ],
    }
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Nothing in it may end the script element or open a comment in it: HTML, section 4.12.1.3.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _render(report: Report, content: _Content, t: Words) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = (_TEMPLATES / "browser.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("report.html").render(
        t=t,
        report=report,
        page=content,
        style=(_TEMPLATES / "style.css").read_text(encoding="utf-8"),
        script=script,
        script_digest=f"sha256-{digest}",
    )
