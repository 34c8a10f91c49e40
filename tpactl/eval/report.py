"""The report's folder: ``report.json``, ``utterances.jsonl``, ``report.md`` and the exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tpactl.errors import InputError
from tpactl.eval.exports import LEADERBOARD_FOLDER, TRN_FOLDER, write_leaderboard, write_trn
from tpactl.eval.hear import Hearing
from tpactl.eval.markdown import markdown
from tpactl.eval.measure import Scores
from tpactl.formats.files import whole_folder, write_bytes, write_json, write_jsonl
from tpactl.formats.report import Report


def check_place(out: Path, *, force: bool) -> None:
    """Refuse, before any work, an ``out`` that cannot become a report.

    Raises:
        InputError: something is there and ``force`` is not set, or it is no report that ``force``
            could replace.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "report.json").is_file():
        raise InputError(f"{out} exists and is no report", "choose another --out")
    if not force:
        raise InputError(
            f"{out} exists already", "choose another --out, or replace the report with --force"
        )


def write(
    report: Report,
    scores: Mapping[str, Scores],
    hearing: Hearing,
    out: Path,
    *,
    force: bool = False,
) -> None:
    """Write the report's files into ``out``, which appears whole or not at all.

    Args:
        report: the figures.
        scores: of every system on the test set, by name.
        hearing: the test set as it was heard.
        out: the report's place.
        force: replace what is there.
    """
    seconds = {name: heard.seconds for name, heard in hearing.systems.items()}
    rows = (
        row
        for name, each in scores.items()
        for row in each.utterances(name, seconds[name], hearing.snr_db)
    )
    with whole_folder(out, replace=force) as folder:
        write_json(folder / "report.json", report)
        write_jsonl(folder / "utterances.jsonl", rows)
        write_bytes(folder / "report.md", markdown(report).encode())
        write_trn(scores, folder / TRN_FOLDER)
        write_leaderboard(scores, seconds, folder / LEADERBOARD_FOLDER)
