"""The results in other tools' forms: NIST's ``.trn``, the Open ASR Leaderboard's manifests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tpactl.eval.measure import Scores
from tpactl.formats.files import write_bytes, write_jsonl
from tpactl.formats.report import LeaderboardRow

TRN_FOLDER = "trn"
LEADERBOARD_FOLDER = "leaderboard"


def write_trn(scores: Mapping[str, Scores], folder: Path) -> None:
    """Write ``ref.trn`` and one ``.trn`` a system, normalised, for ``sclite -i spu_id``.

    A line is the text and the utterance in brackets (SCTK, ``trn`` format). sclite reads ``{ a / b
    }``, ``@`` and a leading ``;;`` its own way and takes the speaker from what stands before the
    first hyphen, so ids are written as ``speaker-number`` and these marks are left out of texts.
    """
    first = next(iter(scores.values()))
    ids = _ids(first)
    _write_trn(folder / "ref.trn", first.measure.references, ids)
    for each, file in zip(scores.values(), file_names(scores), strict=True):
        _write_trn(folder / f"hyp.{file}.trn", each.normalised, ids)


def write_leaderboard(
    scores: Mapping[str, Scores], seconds: Mapping[str, Mapping[int, float]], folder: Path
) -> None:
    """Write one manifest a system in the Open ASR Leaderboard's form, texts under the normaliser.

    Source: huggingface/open_asr_leaderboard, ``normalizer/eval_utils.py``, ``write_manifest``.
    """
    for (name, each), file in zip(scores.items(), file_names(scores), strict=True):
        rows = (
            LeaderboardRow(
                audio_filepath=utterance.audio_filepath,
                duration=utterance.duration,
                time=seconds[name][index],
                text=each.measure.references[index],
                pred_text=each.normalised[index],
            )
            for index, utterance in enumerate(each.measure.test_set.utterances)
        )
        write_jsonl(folder / f"{file}.jsonl", rows)


def file_names(systems: Iterable[str]) -> list[str]:
    """Return each system's name as a file may be called, no two alike.

    >>> file_names(["base", "dock/a@1.0.0", "dock_a@1.0.0"])
    ['base', 'dock_a@1.0.0', 'dock_a@1.0.0-2']
    """
    names: list[str] = []
    for system in systems:
        plain = re.sub(r"[^\w.@+-]+", "_", system).strip("._") or "system"
        name, number = plain, 2
        while name in names:
            name, number = f"{plain}-{number}", number + 1
        names.append(name)
    return names


def _ids(scores: Scores) -> list[str]:
    return [
        f"{re.sub(r'[^A-Za-z0-9]+', '_', speaker or 'unknown')}-{number:06}"
        for number, speaker in enumerate(scores.measure.test_set.speakers)
    ]


def _write_trn(path: Path, texts: list[str], ids: list[str]) -> None:
    lines = [f"{_plain(text)} ({name})" for text, name in zip(texts, ids, strict=True)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[{}()@;*\\/]", " ", text).split())
