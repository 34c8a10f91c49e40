"""Turns recordings into text with one base and any number of adapters on it.

The base is loaded once and each recording's features are computed once; the adapters take turns on
them. Recordings longer than ``LONGEST_S`` are cut at the quietest moment of a stretch, because a
Conformer's attention grows with the square of the length and bases are trained on short utterances.
A word that is spoken across a cut may be lost; there are no overlapping windows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tpactl.errors import BaseError, InputError, UsageError
from tpactl.formats.adapter import WEIGHTS_FILE
from tpactl.formats.dataset import SAMPLE_RATE
from tpactl.formats.decoding import BeamSearch, BeamSettings
from tpactl.formats.files import Record
from tpactl.formats.run import Run

if TYPE_CHECKING:
    from tpactl.adapters.adapter import Adapter
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
    """What ``tpactl transcribe --json`` prints; transcripts by recording, then by adapter."""

    schema_version: int = SCHEMA_VERSION
    base_ref: str
    base_digest: str
    device: str
    transcripts: list[Transcript]
    beam: BeamSearch | None = None
    """How beam search found the texts; ``None``: they were decoded greedily."""


@dataclass(frozen=True)
class _Source:
    """An adapter that was asked for and where its files lie."""

    name: str
    folder: Path


def transcribe(
    audio: Sequence[Path],
    base_ref: str,
    *,
    packages: Sequence[Path] = (),
    runs: Sequence[Path] = (),
    only: Sequence[str] = (),
    beam: BeamSettings | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Transcription:
    """Return what the base, or each adapter on it, hears in each recording.

    Args:
        audio: recordings in any format that ``tpactl.audio`` decodes.
        base_ref: starter, a model directory, or HUB_ID[@REVISION].
        packages: ``.tpa`` files; each is checked whole before anything is loaded.
        runs: folders of ``tpactl train``.
        only: names of the adapters to use; empty for all that are given.
        beam: decode by beam search, so set; ``None`` decodes greedily.
        device: auto, cpu, cuda, ...
        on_progress: called with the seconds of audio that are done.

    Raises:
        UsageError: an adapter of ``only`` is not among those given.
        InputError: recordings that cannot be decoded, all of them listed.
        BaseError: a package or run belongs to another base.
        IntegrityError: a package's content changed.
    """
    with tempfile.TemporaryDirectory(prefix="tpactl-") as scratch:
        sources = _choose([*_open(packages, Path(scratch)), *_find(runs)], only)
        cuts = _check(audio)

        from tpactl.adapters.store import load
        from tpactl.bases.beam import BeamDecoder
        from tpactl.bases.devices import choose
        from tpactl.bases.load import load_base

        decoder = None if beam is None else BeamDecoder(beam)
        base = load_base(base_ref, device=choose(device))
        adapters: list[Adapter | None] = [
            load(base, source.folder, name=source.name) for source in sources
        ]
        search = None if decoder is None else decoder.on(base)
        transcripts = _recognise(base, adapters or [None], audio, cuts, search, on_progress)
    return Transcription(
        base_ref=base_ref,
        base_digest=base.identity.digest,
        device=str(base.device),
        transcripts=transcripts,
        beam=None if search is None else search.record,
    )


def _open(packages: Sequence[Path], scratch: Path) -> Iterator[_Source]:
    for number, path in enumerate(packages):
        from tpactl.package.read import open_package

        package = open_package(path)
        folder = scratch / str(number)
        folder.mkdir()
        yield _Source(f"{package.record.name}@{package.record.version}", package.extract(folder))


def _find(runs: Sequence[Path]) -> Iterator[_Source]:
    for path in runs:
        run = Run(path)
        if not (run.adapter_folder / WEIGHTS_FILE).is_file():
            raise BaseError(
                f"{path} is a run of full fine-tuning: a model of its own, no adapter on a base",
                f"give it as the base: --base {run.model_folder}",
            )
        yield _Source(path.resolve().name, run.adapter_folder)


def _choose(sources: list[_Source], only: Sequence[str]) -> list[_Source]:
    names = [source.name for source in sources]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two adapters are called {', '.join(twice)}", "give each adapter once")
    # department/task suffices where only one version of it is given.
    unknown = [name for name in only if len(_matching(sources, name)) != 1]
    if unknown:
        raise UsageError(
            f"no single adapter is called {', '.join(unknown)}",
            f"choose from: {', '.join(names)}" if names else "give --package FILE or --run RUN",
        )
    return [_matching(sources, name)[0] for name in only] if only else sources


def _matching(sources: list[_Source], name: str) -> list[_Source]:
    return [s for s in sources if name in (s.name, s.name.rpartition("@")[0])]


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
    base: Base,
    adapters: Sequence[Adapter | None],
    audio: Sequence[Path],
    cuts: Sequence[list[tuple[float, float]]],
    search: Beam | None,
    on_progress: Progress | None,
) -> list[Transcript]:
    total = sum(pieces[-1][1] for pieces in cuts)
    transcripts: list[Transcript] = []
    done = 0.0

    def advance(seconds: float) -> None:
        nonlocal done
        done += seconds
        if on_progress is not None:
            on_progress("transcribe, seconds of audio", round(done), max(1, round(total)))

    for group in _groups([pieces[-1][1] for pieces in cuts]):
        wanted = [(index, piece) for index in group for piece in cuts[index]]
        texts = _hear(base, adapters, audio, wanted, search, advance)
        for index in group:
            for column, adapter in enumerate(adapters):
                pieces = [
                    Piece(start_s=round(start, 3), end_s=round(end, 3), text=texts[row][column])
                    for row, (owner, (start, end)) in enumerate(wanted)
                    if owner == index
                ]
                transcripts.append(
                    Transcript(
                        audio=str(audio[index]),
                        adapter=None if adapter is None else adapter.name,
                        duration_s=round(cuts[index][-1][1], 3),
                        text=" ".join(piece.text for piece in pieces if piece.text),
                        pieces=pieces,
                    )
                )
    return transcripts


def _hear(
    base: Base,
    adapters: Sequence[Adapter | None],
    audio: Sequence[Path],
    wanted: Sequence[tuple[int, tuple[float, float]]],
    search: Beam | None,
    advance: Callable[[float], None],
) -> list[list[str]]:
    """Return a text for each wanted piece (rows) and adapter (columns)."""
    from tpactl.adapters.attach import activate
    from tpactl.audio.decode import decode
    from tpactl.bases.recognise import plan_batches, recognise_features

    samples = {index: decode(audio[index]).samples for index in {owner for owner, _ in wanted}}
    waves = [
        samples[index][round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        for index, (start, end) in wanted
    ]
    lengths = [len(wave) / SAMPLE_RATE for wave in waves]
    texts = [[""] * len(adapters) for _ in wanted]
    try:
        for batch in plan_batches(lengths, one_length=base.family.padding_leaks):
            features = base.features([waves[row] for row in batch])
            for column, adapter in enumerate(adapters):
                activate(base, adapter)
                heard = recognise_features(base, features, search)
                for row, text in zip(batch, heard, strict=True):
                    texts[row][column] = text
            advance(sum(lengths[row] for row in batch))
    finally:
        activate(base, None)
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
