"""Read a source: which recordings there are, what was said, who spoke, which split they belong to.

Three forms are known:

    audiofolder   metadata.csv or metadata.jsonl in the folder or in folders below it
    nemo          JSON lines with the key audio_filepath
    pairs         name.wav with name.txt beside it
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tpactl.audio.suffixes import AUDIO_SUFFIXES
from tpactl.errors import InputError
from tpactl.formats.dataset import Skipped, Split
from tpactl.prepare.files import SourceFiles, UnusableNameError
from tpactl.prepare.text import Row, clean, read_text, rows, unstorable
from tpactl.prepare.text import shown as printable

TEXT_COLUMNS = ("transcription", "text", "sentence", "transcript")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
FILE_COLUMNS = ("file_name", "audio_filepath", "path", "file", "audio", "filename")
ID_COLUMNS = ("id", "utterance_id", "utt_id")
METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
_MANIFEST_SUFFIXES = (".json", ".jsonl", ".ndjson")

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "development": "dev",
    "valid": "dev",
    "validation": "dev",
    "val": "dev",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Entry:
    """One utterance that the source names."""

    id: str
    path: Path
    file: str
    """The path as shown: relative to the source."""
    text: str
    where: str = ""
    """The file, and the table's row that names it."""
    key: str = ""
    """What decides the split where no speaker is known; the same when a file is converted."""
    speaker: str | None = None
    label: str | None = None
    """The source's own name of the split or folder it lies in."""
    metadata: dict[str, str] = field(default_factory=dict)
    offset_s: float | None = None
    duration_s: float | None = None
    """As the manifest declares it."""


@dataclass
class Source:
    """What a source holds, and what is wrong with it."""

    root: Path
    form: str
    entries: list[Entry]
    faults: list[Skipped]


@dataclass(frozen=True)
class Columns:
    """Which columns the caller named; ``None``: the usual names."""

    text: str | None = None
    speaker: str | None = None


def read_source(source: Path, columns: Columns, audio_root: Path | None = None) -> Source:
    """Return the utterances of ``source`` with all faults that show without decoding audio.

    Raises:
        InputError: no such folder, no known form, or a table that cannot be read at all.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder", "check the path")
    root = source if source.is_dir() else source.parent
    if (root / "dataset.json").is_file():
        raise InputError(
            f"{root} is prepared already: it has a dataset.json",
            f"run: tpactl train --data {root} --base starter --out RUN",
        )
    if not source.is_dir() and source.suffix.lower() not in (".csv", *_MANIFEST_SUFFIXES):
        raise InputError(
            f"{source} is neither a folder nor a table (.csv, .jsonl, .json)",
            "give the folder that holds the recordings and their transcripts",
        )
    files = SourceFiles(root, audio_root)
    if source.is_dir():
        tables = [path for path in files.files if path.name.lower() in METADATA_NAMES]
        manifests = [] if tables else [path for path in files.files if _is_manifest(path)]
    else:
        tables = [source] if source.suffix.lower() == ".csv" else []
        manifests = [] if tables else [source]
    if tables:
        found = _read_audiofolder(files, tables, columns)
    elif manifests:
        found = _read_nemo(files, manifests, columns)
    elif any(path.suffix.lower() == ".txt" for path in files.files) and files.audio():
        found = _read_pairs(files)
    else:
        raise InputError(
            f"{source}: no transcripts found: neither metadata.csv or metadata.jsonl, nor JSON "
            f"lines with audio_filepath, nor name.txt beside name.wav "
            f"({len(files.audio())} audio files in it)",
            "write a metadata.csv with the columns file_name,transcription,speaker",
        )
    found = _without_duplicates(found)
    found.faults = [
        Skipped(file=printable(fault.file), reason=printable(fault.reason))
        for fault in found.faults
    ]
    return found


def _read_audiofolder(files: SourceFiles, tables: list[Path], columns: Columns) -> Source:
    entries: list[Entry] = []
    faults: list[Skipped] = []
    seen_folders: dict[Path, Path] = {}
    named: set[Path] = set()
    for table in tables:
        other = seen_folders.setdefault(table.parent, table)
        if other != table:
            raise InputError(
                f"{table.parent} has both {other.name} and {table.name}", "keep one of the two"
            )
        for row in rows(table):
            where = f"{files.relative(table)} line {row.line}"
            if row.fault is not None:
                faults.append(Skipped(file=where, reason=row.fault))
                continue
            file_column = _column(table, row, FILE_COLUMNS, None, "the audio file")
            if file_column is None:
                faults.append(Skipped(file=where, reason="names no audio file"))
                continue
            name = str(row.values[file_column] or "")
            try:
                path = files.find(name, table.parent)
            except UnusableNameError as error:
                faults.append(Skipped(file=f"{where}: {name}", reason=str(error)))
                if error.path is not None:
                    named.add(error.path)
                continue
            named.add(path)
            made = _entry(files, table, row, path, columns, {file_column})
            (entries if isinstance(made, Entry) else faults).append(made)  # type: ignore[arg-type]
    faults += [
        Skipped(file=files.relative(path), reason="no transcript: no row names it")
        for path in files.audio()
        if path not in named
    ]
    return Source(files.root, "audiofolder", entries, faults)


def _read_nemo(files: SourceFiles, manifests: list[Path], columns: Columns) -> Source:
    entries: list[Entry] = []
    faults: list[Skipped] = []
    for manifest in manifests:
        label = _label_of_manifest(files.relative(manifest))
        for row in rows(manifest):
            where = f"{files.relative(manifest)} line {row.line}"
            if row.fault is not None:
                faults.append(Skipped(file=where, reason=row.fault))
                continue
            name = row.values.get("audio_filepath")
            if not isinstance(name, str):
                faults.append(Skipped(file=where, reason="no audio_filepath"))
                continue
            try:
                path = files.find(name, manifest.parent)
                offset = _seconds(row, "offset")
                duration = _seconds(row, "duration")
            except (UnusableNameError, ValueError) as error:
                faults.append(Skipped(file=f"{where}: {name}", reason=str(error)))
                continue
            used = {"audio_filepath", "offset", "duration"}
            made = _entry(files, manifest, row, path, columns, used)
            if not isinstance(made, Entry):
                faults.append(made)
                continue
            at = f"@{offset:.3f}" if offset else ""
            own = any(row.values.get(name) for name in ID_COLUMNS)
            entries.append(
                replace(
                    made,
                    id=made.id if own else made.id + at,
                    key=made.key if own else made.key + at,
                    label=made.label if "split" in row.values else label,
                    offset_s=offset,
                    duration_s=duration,
                )
            )
    return Source(files.root, "nemo", entries, faults)


def _read_pairs(files: SourceFiles) -> Source:
    entries: list[Entry] = []
    faults: list[Skipped] = []
    by_stem: dict[Path, Path] = {
        path.with_suffix(""): path for path in files.files if path.suffix.lower() == ".txt"
    }
    unused = dict(by_stem)
    for path in files.audio():
        shown = files.relative(path)
        text_file = by_stem.get(path.with_suffix(""))
        unused.pop(path.with_suffix(""), None)
        try:
            if text_file is None:
                raise UnusableNameError(f"no transcript: {path.stem}.txt is missing")
            files.inside(path)
            text = clean(read_text(files.inside(text_file)))
            if not text:
                raise UnusableNameError(f"the transcript is empty ({text_file.name})")
            if (reason := unstorable(text)) is not None:
                raise UnusableNameError(f"the transcript {reason} ({text_file.name})")
        except UnusableNameError as error:
            faults.append(Skipped(file=shown, reason=str(error)))
        except InputError as error:
            faults.append(
                Skipped(
                    file=files.relative(by_stem[path.with_suffix("")]),
                    reason=error.problem.partition(": ")[2],
                )
            )
        else:
            name = _stem(shown)
            entries.append(Entry(name, path, shown, text, shown, name, label=_top_folder(shown)))
    faults += [
        Skipped(file=files.relative(path), reason="no audio file of that name beside it")
        for path in unused.values()
        if path.stem.lower() not in ("readme", "license", "licence", "notes")
    ]
    return Source(files.root, "pairs", entries, faults)


def _entry(
    files: SourceFiles, table: Path, row: Row, path: Path, columns: Columns, used: set[str]
) -> Entry | Skipped:
    shown = files.relative(path)
    where = f"{shown} ({files.relative(table)} line {row.line})"
    text_column = _column(table, row, TEXT_COLUMNS, columns.text, "the transcript")
    usual = [columns.speaker.strip().lower()] if columns.speaker else SPEAKER_COLUMNS
    speaker_column = next((name for name in usual if name in row.values), None)
    if columns.speaker and speaker_column is None and table.suffix.lower() == ".csv":
        _column(table, row, (), columns.speaker, "the speaker")
    values = row.values
    text = values[text_column] if text_column else None
    if text_column is None:
        looked_for = columns.text or ", ".join(TEXT_COLUMNS)
        return Skipped(file=where, reason=f"no transcript: looked for {looked_for}")
    if text is None or (isinstance(text, str) and not text.strip()):
        return Skipped(file=where, reason="the transcript is empty")
    if not isinstance(text, str):
        return Skipped(file=where, reason=f"the transcript is no text but {text!r}"[:80])
    if _runs_on(text):
        return Skipped(
            file=where,
            reason="a quotation mark before it is not closed: the transcript holds the next rows",
        )
    for part in (part for name in values for part in (name, _as_text(values[name]))):
        if (reason := unstorable(part)) is not None:
            return Skipped(file=where, reason=reason)
    id_column = next((name for name in ID_COLUMNS if str(values.get(name) or "").strip()), None)
    split = values.get("split")
    speaker = clean(_as_text(values[speaker_column])) if speaker_column else ""
    used = used | {text_column, speaker_column or "", id_column or "", "split"}
    name = clean(_as_text(values[id_column])) if id_column else _stem(shown)
    return Entry(
        id=name,
        path=path,
        file=shown,
        text=clean(text),
        where=where,
        key=name,
        speaker=speaker or None,
        label=clean(_as_text(split)) or None if "split" in values else _top_folder(shown),
        metadata={
            name: _as_text(value)
            for name, value in values.items()
            if name and name not in used and value not in (None, "")
        },
    )


def _column(
    table: Path, row: Row, usual: Iterable[str], named: str | None, what: str
) -> str | None:
    """Return the first wanted column; ``None`` where a JSON row lacks it, an error for a table."""
    wanted = [named.strip().lower()] if named else list(usual)
    for name in wanted:
        if name in row.values:
            return name
    if table.suffix.lower() != ".csv":
        return None
    if named:
        fix = f"name one of its columns instead of {named}"
    elif what == "the transcript":
        fix = f"name the column {wanted[0]}, or give its name with --text-column"
    else:
        fix = f"name the column {wanted[0]}"
    raise InputError(
        f"{table}: no column for {what}: looked for {', '.join(wanted)}; "
        f"it has {', '.join(filter(None, row.values)) or 'none'}",
        fix,
    )


def _runs_on(text: str) -> bool:
    """Return whether a transcript swallowed rows: a line of it begins with an audio file's name."""
    names = (
        re.split(r"[,;\t\"]", line.strip(' "'), maxsplit=1)[0] for line in text.splitlines()[1:]
    )
    return any(PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES for name in names)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _seconds(row: Row, name: str) -> float | None:
    value = row.values.get(name)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0 or (name == "duration" and number == 0):
        raise ValueError(f"{name} is {value!r}; seconds are expected")
    return number


def _is_manifest(path: Path) -> bool:
    if path.suffix.lower() not in _MANIFEST_SUFFIXES:
        return False
    with path.open("rb") as file:
        head = file.readline(1 << 20)
    return b'"audio_filepath"' in head or b'"audio_filepath"' in head.replace(b"\0", b"")


def _label_of_manifest(shown: str) -> str | None:
    """Return the split that the manifest's name (or folder) tells: train_manifest.json is train."""
    words = re.split(r"[^a-z]+", PurePosixPath(shown).stem.lower())
    told = {word for word in words if word in SPLIT_NAMES}
    return told.pop() if len(told) == 1 else _top_folder(shown)


def _top_folder(shown: str) -> str | None:
    parts = PurePosixPath(shown).parts
    return parts[0] if len(parts) > 1 else None


def _stem(shown: str) -> str:
    return clean(str(PurePosixPath(shown).with_suffix("")))


def _without_duplicates(source: Source) -> Source:
    """Make ids unique; what is listed twice moves to the faults, all of it where texts differ."""
    by_id: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in source.entries:
        by_id[entry.id].append(entry)
    kept: list[Entry] = []
    for name, same in by_id.items():
        by_path: defaultdict[Path, list[Entry]] = defaultdict(list)
        for entry in same:
            by_path[entry.path].append(entry)
        if len(by_path) > 1 and name not in {_stem(entry.file) for entry in same}:
            others = ", ".join(sorted({entry.file for entry in same}))
            reason = f"the id {name!r} belongs to several files: {others}"
            kept.append(same[0])
            source.faults += [Skipped(file=entry.where, reason=reason) for entry in same[1:]]
            continue
        for again in by_path.values():
            bad, reason = again[1:], "listed more than once"
            if len({entry.text for entry in again}) > 1:
                bad, reason = again, f"listed {len(again)} times with different transcripts"
            source.faults += [Skipped(file=entry.where, reason=reason) for entry in bad]
            good = again[: len(again) - len(bad)]
            # a.wav and a.mp3: both keep their suffix in the id.
            kept += [replace(one, id=clean(one.file)) for one in good] if len(by_path) > 1 else good
    source.entries = kept
    return source
