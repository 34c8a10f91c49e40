"""The preparing step: a department's folder becomes a data set, whole or not at all.

Reads the source (``source.py``), places every utterance (``splits.py``), decodes the audio on all
cores and writes what ``formats/dataset.py`` describes. Every fault of the source is gathered first.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from tpactl import __version__
from tpactl.audio.decode import BadAudioError, MissingDecoderError, decode
from tpactl.audio.write import digest_samples, write_flac
from tpactl.errors import InputError, MachineError
from tpactl.formats.dataset import (
    SAMPLE_RATE,
    SPLITS,
    DataSet,
    DataSetCard,
    Skipped,
    SourceFile,
    SplitSummary,
    Utterance,
    digest_of,
)
from tpactl.formats.files import read_jsonl, whole_folder, write_json, write_jsonl
from tpactl.formats.progress import Progress
from tpactl.prepare import kept
from tpactl.prepare.source import Columns, Entry, Source, read_source
from tpactl.prepare.splits import Assignment, Group, SplitBy, SplitRule, assign
from tpactl.prepare.text import shown as printable

SHORTEST_S = 0.1
"""No word fits into less, and a feature extractor's window hardly does."""
SILENT_PEAK = 1e-4
"""-80 dBFS, three steps of a 16-bit sample."""
LENGTH_TOLERANCE_S = 0.05
"""How far a manifest's rounded duration may exceed the file's."""
SOURCES_FILE = "sources.jsonl"


def prepare(
    source: Path,
    out: Path,
    *,
    text_column: str | None = None,
    speaker_column: str | None = None,
    audio_root: Path | None = None,
    dev_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_by: SplitBy = "auto",
    seed: int = 0,
    train_from: str | None = None,
    dev_from: str | None = None,
    test_from: str | None = None,
    skip_bad: bool = False,
    update: bool = False,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> DataSetCard:
    """Write the data set ``out`` from the folder (or manifest) ``source`` and return its card.

    Args:
        source: an audiofolder, a folder of audio and text pairs, NeMo manifests, or one manifest.
        out: the data set's folder; it must not exist unless ``update``.
        text_column: where the transcript stands, if not under a usual name.
        speaker_column: where the speaker stands, if not under a usual name.
        audio_root: another folder that the source may take audio from.
        dev_fraction: see ``SplitRule``, as for the next six.
        test_fraction: share of the speakers for test.
        split_by: what is placed as a whole.
        seed: another seed is another division.
        train_from: the source's split or folder to train on.
        dev_from: the same for dev.
        test_from: the same for test.
        skip_bad: leave bad files out and list them in the card, instead of an error.
        update: replace ``out``; what it held stays in its split, unchanged audio is reused.
        workers: threads that decode; all cores where ``None``.
        on_progress: called with ("reading audio", done, total).

    Raises:
        InputError: the source cannot be read, or holds bad files and ``skip_bad`` is not set; every
            one is listed in ``details`` with its reason.
        MachineError: a decoder is missing, or the disk refuses.
    """
    rule = SplitRule(dev_fraction, test_fraction, split_by, seed, train_from, dev_from, test_from)
    earlier = _Earlier.read(out) if update and out.exists() else _Earlier()
    with whole_folder(out, replace=update) as folder:
        found = read_source(source, Columns(text_column, speaker_column), audio_root)
        if not found.entries:
            raise _all_bad(source, found.faults)
        places = kept.from_source(found.root, seed) | earlier.places
        assignment = assign(found.entries, rule, places)
        (folder / "audio").mkdir()
        entries = [entry for entry in found.entries if entry.id in assignment.splits]
        work = _Work(folder, earlier, on_progress or _ignore)
        written = work.run(entries, workers or os.cpu_count() or 1)
        faults = sorted(found.faults + work.faults, key=lambda fault: fault.file)
        if faults and not skip_bad:
            raise _bad(source, faults, len(found.entries) + len(found.faults), work.undecodable)
        if not written:
            raise _all_bad(source, faults)
        _remember(found, assignment, seed, {row.id for row in written})
        card = _write_records(folder, found, assignment, written, faults, source)
        write_jsonl(folder / SOURCES_FILE, [work.sources[row.id] for row in _by_id(written)])
    return card


@dataclass
class _Earlier:
    """The data set that is updated: its places, and its audio by the files that it came from."""

    folder: Path | None = None
    places: dict[Group, str] = field(default_factory=dict)
    utterances: dict[SourceFile, Utterance] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> _Earlier:
        data = DataSet(folder)
        by_id = {row.id: row for split in SPLITS for row in data.utterances(split)}
        path = folder / SOURCES_FILE
        sources = list(read_jsonl(path, SourceFile)) if path.is_file() else []
        return cls(
            folder,
            kept.from_data_set(folder),
            {source: by_id[source.id] for source in sources if source.id in by_id},
        )


class _Work:
    """Decodes the entries' audio and writes it; gathers what is bad."""

    def __init__(self, folder: Path, earlier: _Earlier, on_progress: Progress) -> None:
        self.folder = folder
        self.earlier = earlier
        self.on_progress = on_progress
        self.faults: list[Skipped] = []
        self.undecodable = 0
        self.sources: dict[str, SourceFile] = {}

    def run(self, entries: list[Entry], workers: int) -> list[Utterance]:
        names = _file_names(entries)
        by_path: defaultdict[Path, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_path[entry.path].append(entry)
        written: list[Utterance] = []
        done = 0
        pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        try:
            jobs = [pool.submit(self._one_file, path, by_path[path], names) for path in by_path]
            for job in as_completed(jobs):
                written += job.result()
                done += 1
                self.on_progress("reading audio", done, len(jobs))
        finally:
            # On an interrupt: no thread may still write into a folder that is being deleted.
            pool.shutdown(wait=True, cancel_futures=True)
        return written

    def _one_file(self, path: Path, entries: list[Entry], names: dict[str, str]) -> list[Utterance]:
        """Return the utterances of one audio file; several where a manifest names segments."""
        try:
            state = path.stat()
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            self.faults.append(Skipped(file=printable(entries[0].file), reason=reason))
            return []
        try:
            sources = {entry.id: _source_file(entry, state) for entry in entries}
            made = [self._reuse(entry, sources[entry.id], names[entry.id]) for entry in entries]
            missing = [entry for entry, row in zip(entries, made, strict=True) if row is None]
            done = [row for row in made if row is not None]
            if missing:
                samples = decode(path).samples
                done += [
                    row
                    for entry in missing
                    if (row := self._write(entry, samples, names[entry.id])) is not None
                ]
        except (BadAudioError, MissingDecoderError) as error:
            self.undecodable += isinstance(error, MissingDecoderError)
            self.faults.append(Skipped(file=printable(entries[0].file), reason=error.reason))
            return []
        self.sources.update((row.id, sources[row.id]) for row in done)
        return done

    def _write(self, entry: Entry, samples: np.ndarray, name: str) -> Utterance | None:
        total_s = len(samples) / SAMPLE_RATE
        start_s, length_s = entry.offset_s or 0.0, entry.duration_s
        end_s = total_s if length_s is None else start_s + length_s
        reason = None
        if start_s >= total_s or end_s > total_s + LENGTH_TOLERANCE_S:
            reason = f"truncated: the manifest declares {end_s:.2f} s, {total_s:.2f} s decode"
        part = samples[round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]
        if reason is None and len(part) < SHORTEST_S * SAMPLE_RATE:
            reason = f"only {len(part) / SAMPLE_RATE:.3f} s long; at least {SHORTEST_S} s is needed"
        if reason is None and float(np.abs(part).max()) <= SILENT_PEAK:
            reason = "silent: no sample above -80 dB of full scale"
        if reason is not None:
            self.faults.append(Skipped(file=printable(entry.file), reason=reason))
            return None
        digest = write_flac(self.folder / "audio" / name, part)
        return _utterance(entry, name, len(part) / SAMPLE_RATE, digest)

    def _reuse(self, entry: Entry, source: SourceFile, name: str) -> Utterance | None:
        """Return the utterance with the earlier data set's audio, if that is still what it was."""
        before = self.earlier.utterances.get(source)
        if before is None or self.earlier.folder is None:
            return None
        audio = self.earlier.folder / before.audio_filepath
        try:
            samples, rate = soundfile.read(audio, dtype="int16")
        except (OSError, soundfile.LibsndfileError):
            return None
        if rate != SAMPLE_RATE or digest_samples(samples) != before.audio_digest:
            return None
        shutil.copyfile(audio, self.folder / "audio" / name)
        return _utterance(entry, name, before.duration, before.audio_digest)


def _utterance(entry: Entry, name: str, duration: float, digest: str) -> Utterance:
    return Utterance(
        audio_filepath=f"audio/{name}",
        duration=duration,
        text=entry.text,
        id=entry.id,
        speaker=entry.speaker,
        audio_digest=digest,
        metadata=entry.metadata,
    )


def _source_file(entry: Entry, state: os.stat_result) -> SourceFile:
    return SourceFile(
        id=entry.id,
        path=str(entry.path.resolve()),
        size_bytes=state.st_size,
        modified_ns=state.st_mtime_ns,
        offset_s=entry.offset_s,
        length_s=entry.duration_s,
    )


def _file_names(entries: list[Entry]) -> dict[str, str]:
    """Return a file name for every id: plain ASCII, distinct also where case is not told apart."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(entry.id for entry in entries):
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "utterance"
        shown = plain[:80]
        if shown != name or shown.lower() in taken:
            shown += "-" + hashlib.sha256(name.encode()).hexdigest()[:10]
        taken.add(shown.lower())
        names[name] = f"{shown}.flac"
    return names


def _write_records(
    folder: Path,
    found: Source,
    assignment: Assignment,
    written: list[Utterance],
    faults: list[Skipped],
    source: Path,
) -> DataSetCard:
    rows = {
        split: [row for row in _by_id(written) if assignment.splits[row.id] == split]
        for split in SPLITS
    }
    for split, utterances in rows.items():
        if utterances:
            write_jsonl(folder / f"{split}.jsonl", utterances)
    pairs = [(split, row) for split in SPLITS for row in rows[split]]
    card = DataSetCard(
        source=str(source.resolve()),
        source_form=found.form,
        digest=digest_of(pairs),
        splits={split: _summary(rows[split]) for split in SPLITS if rows[split]},
        split_by=assignment.split_by,
        skipped=faults,
        notes=[*assignment.notes, *_same_audio(pairs)],
        tpactl_version=__version__,
    )
    write_json(folder / "dataset.json", card)
    return card


def _summary(utterances: list[Utterance]) -> SplitSummary:
    speakers = {row.speaker for row in utterances if row.speaker is not None}
    return SplitSummary(
        utterances=len(utterances),
        duration_s=round(sum(row.duration for row in utterances), 3),
        speakers=len(speakers) or None,
        characters=sum(len(row.text) for row in utterances),
    )


def _same_audio(pairs: Iterable[tuple[str, Utterance]]) -> list[str]:
    where: defaultdict[str, set[str]] = defaultdict(set)
    for split, row in pairs:
        where[row.audio_digest].add(split)
    shared = sum(len(splits) > 1 for splits in where.values())
    return [f"recordings in more than one split: {shared}"] if shared else []


def _remember(found: Source, assignment: Assignment, seed: int, written: set[str]) -> None:
    """Keep in the source what a later preparation could not find out by itself."""
    if not assignment.to_keep:
        return
    if kept.keep_in_source(found.root, seed, assignment.to_keep):
        assignment.notes.append(
            f"few speakers or utterances: their splits are kept in {kept.FILE_NAME} of the source, "
            "so that none moves as it grows"
        )
    else:
        assignment.notes.append(
            "few speakers or utterances, and the source cannot be written: use --update on this "
            "data set as the source grows, so that none moves"
        )


def _bad(
    source: Path, faults: list[Skipped], total: int, undecodable: int
) -> InputError | MachineError:
    details = [f"{fault.file}: {fault.reason}" for fault in faults]
    if undecodable == len(faults):
        return MachineError(
            f"{source}: {undecodable} of {total} files need a decoder that is not installed",
            "run: pip install 'tpactl[av]'",
            details,
        )
    return InputError(
        f"{source}: {len(faults)} of {total} files are bad",
        "mend or remove them, or add --skip-bad to leave them out",
        details,
    )


def _all_bad(source: Path, faults: list[Skipped]) -> InputError:
    return InputError(
        f"{source}: no usable utterance",
        "mend the files listed, or check that this is the right folder"
        if faults
        else "put recordings and a metadata.csv (file_name,transcription,speaker) into it",
        [f"{fault.file}: {fault.reason}" for fault in faults],
    )


def _by_id(utterances: Iterable[Utterance]) -> list[Utterance]:
    return sorted(utterances, key=lambda row: row.id)


def _ignore(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
