"""Turns recordings into text with one base and any number of adapters on it.

The base is loaded once and each recording's features are computed once. Recordings of different
departments share a batch, in which each is heard with its own adapter. Recordings longer than
``LONGEST_S`` are cut at the quietest moment of a stretch, because a Conformer's attention grows
with the square of the length and bases are trained on short utterances. A word that is spoken
across a cut may be lost; there are no overlapping windows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tpactl.adapters.names import called
from tpactl.errors import BaseError, InputError, UsageError
from tpactl.flows.manifest import Recording, read_manifest
from tpactl.flows.packages import package_files
from tpactl.formats.adapter import WEIGHTS_FILE
from tpactl.formats.dataset import SAMPLE_RATE
from tpactl.formats.decoding import BeamSearch, BeamSettings
from tpactl.formats.files import Record
from tpactl.formats.identity import BaseIdentity, differences
from tpactl.formats.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from tpactl.adapters.adapter import Adapter
    from tpactl.adapters.together import Together
    from tpactl.bases.base import Base
    from tpactl.bases.beam import Beam
    from tpactl.formats.progress import Progress

SCHEMA_VERSION = 1

LONGEST_S = 60.0
"""A longer recording is cut into pieces."""
PIECE_S = (15.0, 30.0)
"""Each cut but the last falls between these, counted from the cut before it."""
QUIET_S = 0.2
"""How long the stretch is whose loudness decides where to cut."""
GROUP_S = 600.0
"""Seconds of audio decoded at a time, so that memory does not grow with the number of files."""


class Piece(Record, kw_only=True):
    """What was heard in one stretch of a recording."""

    start_s: float
    end_s: float
    text: str


class Transcript(Record, kw_only=True):
    """One recording as one system hears it."""

    audio: str
    adapter: str | None
    """``None``: the base alone."""
    duration_s: float
    text: str
    pieces: list[Piece]
    """One, unless the recording is long."""


class Transcription(Record, kw_only=True):
    """What ``tpactl transcribe --json`` prints; transcripts by recording, then by adapter.

    Recordings stand in the order they were given in.
    """

    schema_version: int = SCHEMA_VERSION
    base_ref: str
    base_digest: str
    device: str
    transcripts: list[Transcript]
    beam: BeamSearch | None = None
    """How beam search found the texts; ``None``: they were decoded greedily."""
    alone: dict[str, str]
    """Adapters that could share no batch with others, each with the reason: the texts are the same,
    but it takes longer."""


@dataclass(frozen=True)
class _Wanted:
    """A recording and the names of the adapters it is heard with; ``None`` is the base alone."""

    audio: Path
    adapters: Sequence[str | None]


@dataclass(frozen=True)
class _Source:
    """An adapter that was asked for and where its files lie."""

    name: str
    folder: Path
    base: BaseIdentity | None
    """Of its base, for packages only; lets a refusal name what differs."""


def transcribe(
    audio: Sequence[Path],
    base_ref: str,
    *,
    packages: Sequence[Path] = (),
    runs: Sequence[Path] = (),
    only: Sequence[str] = (),
    manifest: Path | None = None,
    beam: BeamSettings | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Transcription:
    """Return what the base, or each adapter on it, hears in each recording.

    Args:
        audio: recordings in any format that ``tpactl.audio`` decodes.
        base_ref: starter, a model directory, or HUB_ID[@REVISION].
        packages: ``.tpa`` files, or folders of such; each is checked whole before anything is
            loaded.
        runs: folders of ``tpactl train``.
        only: names of the adapters to use; empty for all that are given.
        manifest: a table of recordings and the adapter of each, in place of ``audio`` and ``only``;
            see ``flows.manifest``.
        beam: decode by beam search, so set; ``None`` decodes greedily.
        device: auto, cpu, cuda, ...
        on_progress: called with the seconds of audio that are done.

    Raises:
        UsageError: an adapter of ``only`` is not among those given; no recordings, or in two ways.
        InputError: recordings that cannot be decoded, or adapters of ``manifest`` that are not
            among those given, all of them listed.
        BaseError: a package or run belongs to another base.
        IntegrityError: a package's content changed.
    """
    with tempfile.TemporaryDirectory(prefix="tpactl-") as scratch:
        sources = [*_open(package_files(packages), Path(scratch)), *_find(runs)]
        _check_names(sources)
        wanted = _wanted(audio, only, manifest, [source.name for source in sources])
        cuts = _check([each.audio for each in wanted])

        from tpactl.adapters.together import Together
        from tpactl.bases.beam import BeamDecoder
        from tpactl.bases.devices import choose
        from tpactl.bases.load import load_base

        decoder = None if beam is None else BeamDecoder(beam)
        base = load_base(base_ref, device=choose(device))
        used = {name for each in wanted for name in each.adapters}
        together = Together(
            base,
            [_load(base, source) for source in sources if source.name in used],
        )
        search = None if decoder is None else decoder.on(base)
        transcripts = _recognise(together, wanted, cuts, search, on_progress)
    return Transcription(
        base_ref=base_ref,
        base_digest=base.identity.digest,
        device=str(base.device),
        transcripts=transcripts,
        beam=None if search is None else search.record,
        # One system alone shares nothing with anybody.
        alone={a.name: why for a, why in together.alone.items()} if len(used) > 1 else {},
    )


def _open(packages: Sequence[Path], scratch: Path) -> Iterator[_Source]:
    for number, path in enumerate(packages):
        from tpactl.package.read import open_package

        package = open_package(path)
        folder = scratch / str(number)
        folder.mkdir()
        name = f"{package.record.name}@{package.record.version}"
        yield _Source(name, package.extract(folder), package.record.base)


def _find(runs: Sequence[Path]) -> Iterator[_Source]:
    for path in runs:
        run = Run(path)
        if not (run.adapter_folder / WEIGHTS_FILE).is_file():
            raise BaseError(
                f"{path} is a run of full fine-tuning: a model of its own, no adapter on a base",
                f"give it as the base: --base {run.model_folder}",
            )
        yield _Source(path.resolve().name, run.adapter_folder, None)


def _load(base: Base, source: _Source) -> Adapter:
    from tpactl.adapters.store import load

    try:
        return load(base, source.folder, name=source.name)
    except BaseError as error:
        if source.base is None:
            raise
        what = differences(source.base, base.identity)
        raise BaseError(error.problem, error.fix, what) from error


def _check_names(sources: Sequence[_Source]) -> None:
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two adapters are called {', '.join(twice)}", "give each adapter once")


def _wanted(
    audio: Sequence[Path], only: Sequence[str], manifest: Path | None, names: Sequence[str]
) -> list[_Wanted]:
    """Return every recording with the full names of its adapters."""
    if manifest is not None and (audio or only):
        raise UsageError(
            "a manifest names the recordings and their adapters already",
            "leave out AUDIO and --adapter, or --manifest",
        )
    if manifest is not None:
        return _by_row(read_manifest(manifest), names)
    if not audio:
        raise UsageError("no recordings", "name recordings, or give --manifest FILE")
    unknown = [name for name in only if len(called(name, names)) != 1]
    if unknown:
        raise UsageError(f"no single adapter is called {', '.join(unknown)}", _fix(names))
    chosen = [called(name, names)[0] for name in only] if only else names
    return [_Wanted(path, chosen or [None]) for path in audio]


def _by_row(recordings: Sequence[Recording], names: Sequence[str]) -> list[_Wanted]:
    wanted, faults = [], []
    for recording in recordings:
        found = called(recording.adapter, names) if recording.adapter else [None]
        if len(found) != 1:
            faults.append(f"{recording.where}: no single adapter is called {recording.adapter!r}")
            continue
        wanted.append(_Wanted(recording.audio, found))
    if faults:
        raise InputError(faults[0], f"{_fix(names)}, or leave it empty for the base", faults[1:])
    return wanted


def _fix(names: Sequence[str]) -> str:
    return f"choose from: {', '.join(names)}" if names else "give --package FILE or --run RUN"


def _check(audio: Sequence[Path]) -> list[list[tuple[float, float]]]:
    """Return each recording's pieces as (start, end) in seconds, or raise with every bad file."""
    from tpactl.audio.decode import decode

    pieces, faults = [], []
    for path in audio:
        try:
            pieces.append(cut(decode(path).samples))
        except InputError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise InputError(
            f"{len(faults)} of {len(audio)} recordings cannot be used",
            "replace these files, or leave them out",
            details=[fault.problem for fault in faults],
        )
    return pieces


def cut(samples: np.ndarray) -> list[tuple[float, float]]:
    """Return the pieces of a recording as (start, end) in seconds; one where it is short.

    Args:
        samples: (num_samples,) at 16 kHz.
    """
    total = len(samples) / SAMPLE_RATE
    if total <= LONGEST_S:
        return [(0.0, total)]
    window = int(QUIET_S * SAMPLE_RATE)
    hop = window // 4
    # Mean square of a sliding window, by differences of a running sum.
    running = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    loudness = running[window::hop] - running[:-window:hop]
    pieces: list[tuple[float, float]] = []
    start = 0
    shortest, longest = (int(seconds * SAMPLE_RATE) for seconds in PIECE_S)
    while (left := len(samples) - start) > longest:
        # The last piece keeps at least a second: less is no speech.
        latest = min(longest, left - SAMPLE_RATE)
        first, last = ((start + edge - window // 2) // hop for edge in (shortest, latest))
        quietest = first + int(np.argmin(loudness[first:last]))
        end = quietest * hop + window // 2
        pieces.append((start / SAMPLE_RATE, end / SAMPLE_RATE))
        start = end
    return [*pieces, (start / SAMPLE_RATE, total)]


def _recognise(
    together: Together,
    wanted: Sequence[_Wanted],
    cuts: Sequence[list[tuple[float, float]]],
    search: Beam | None,
    on_progress: Progress | None,
) -> list[Transcript]:
    adapters: dict[str | None, Adapter | None] = {a.name: a for a in together.adapters}
    adapters[None] = None
    total = sum(
        pieces[-1][1] * len(each.adapters) for each, pieces in zip(wanted, cuts, strict=True)
    )
    transcripts: list[Transcript] = []
    done = 0.0

    def advance(seconds: float) -> None:
        nonlocal done
        done += seconds
        if on_progress is not None:
            on_progress("transcribe, seconds of audio", round(done), max(1, round(total)))

    for group in _groups([pieces[-1][1] for pieces in cuts]):
        jobs = [
            _Job(index, start, end, name)
            for index in group
            for name in wanted[index].adapters
            for start, end in cuts[index]
        ]
        paths = {index: wanted[index].audio for index in group}
        texts = iter(_hear(together, adapters, paths, jobs, search, advance))
        for index in group:
            for name in wanted[index].adapters:
                pieces = [
                    Piece(start_s=round(start, 3), end_s=round(end, 3), text=next(texts))
                    for start, end in cuts[index]
                ]
                transcripts.append(
                    Transcript(
                        audio=str(wanted[index].audio),
                        adapter=name,
                        duration_s=round(cuts[index][-1][1], 3),
                        text=" ".join(piece.text for piece in pieces if piece.text),
                        pieces=pieces,
                    )
                )
    return transcripts


@dataclass(frozen=True)
class _Job:
    """One piece of one recording, to be heard with one adapter."""

    recording: int
    start_s: float
    end_s: float
    adapter: str | None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def _hear(
    together: Together,
    adapters: Mapping[str | None, Adapter | None],
    paths: Mapping[int, Path],
    jobs: Sequence[_Job],
    search: Beam | None,
    advance: Callable[[float], None],
) -> list[str]:
    """Return the text of each job."""
    from tpactl.audio.decode import decode
    from tpactl.bases.recognise import BATCH_S, CPU_BATCH_S, plan_batches

    base = together.base
    samples = {index: decode(path).samples for index, path in paths.items()}

    @cache
    def extracted(recording: int, start_s: float, end_s: float) -> Tensor:
        first, last = round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE)
        return base.extract(samples[recording][first:last])

    texts = [""] * len(jobs)
    durations_s = [job.duration_s for job in jobs]
    longest_s = CPU_BATCH_S if base.device.type == "cpu" else BATCH_S
    for batch in plan_batches(durations_s, longest_s, one_length=base.family.padding_leaks):
        own = [jobs[place] for place in batch]
        features = base.collate([extracted(j.recording, j.start_s, j.end_s) for j in own])
        heard = together.recognise(features, [adapters[job.adapter] for job in own], search)
        for place, text in zip(batch, heard, strict=True):
            texts[place] = text
        advance(sum(job.duration_s for job in own))
    return texts


def _groups(lengths: Sequence[float]) -> Iterator[list[int]]:
    group: list[int] = []
    seconds = 0.0
    for index, length in enumerate(lengths):
        if group and seconds + length > GROUP_S:
            yield group
            group, seconds = [], 0.0
        group.append(index)
        seconds += length
    if group:
        yield group
