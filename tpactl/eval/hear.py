"""Recognition of the same audio by several systems, with the time each of them takes.

The audio of a batch is decoded once, its features computed once, and every adapter on the base
takes its turn. One batch is heard at a time and the next one read meanwhile; on a CPU of several
cores as many are heard side by side as there are twins of the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from tpactl.errors import IntegrityError
from tpactl.eval.journal import Journal
from tpactl.eval.snr import estimate_snr_db
from tpactl.eval.testset import TestSet
from tpactl.formats import evaluation
from tpactl.formats.dataset import SAMPLE_RATE
from tpactl.formats.evaluation import HeardBatch

if TYPE_CHECKING:
    from tpactl.eval.turns import Turns

Samples = npt.NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True)
class Condition:
    """Which audio is heard, and what is done to it before.

    Attributes:
        name: unique among the conditions of an evaluation.
        test_set: checked already.
        indices: of the utterances to hear.
        disturb: (samples, utterance id) to samples.
        one_by_one: batches of one.
        with_snr: estimate each utterance's signal-to-noise ratio on the way.
    """

    name: str
    test_set: TestSet
    indices: Sequence[int]
    disturb: Callable[[Samples, str], Samples] | None = None
    one_by_one: bool = False
    with_snr: bool = False


@dataclass
class Heard:
    """What one system made of the utterances of a condition."""

    texts: dict[int, str] = field(default_factory=dict)
    """By the utterance's index."""
    seconds: dict[int, float] = field(default_factory=dict)
    """Its share, by duration, of what its batch took: features, forward pass and decoding; reading
    the files not counted."""
    memory_bytes: int | None = None


@dataclass
class Hearing:
    """All systems under one condition."""

    systems: dict[str, Heard] = field(default_factory=dict)
    snr_db: dict[int, float | None] = field(default_factory=dict)

    def add(self, batch: HeardBatch, durations_s: Sequence[float]) -> None:
        """Take in one batch."""
        whole_s = sum(durations_s[index] for index in batch.indices)
        for turn in batch.turns:
            heard = self.systems.setdefault(turn.system, Heard())
            for index, text in zip(batch.indices, turn.texts, strict=True):
                heard.texts[index] = text
                heard.seconds[index] = turn.seconds * durations_s[index] / whole_s
            if turn.memory_bytes is not None:
                heard.memory_bytes = max(heard.memory_bytes or 0, turn.memory_bytes)
        if batch.snr_db is not None:
            self.snr_db.update(zip(batch.indices, batch.snr_db, strict=True))


def hear(
    workers: Sequence[Turns],
    condition: Condition,
    hearing: Hearing,
    journal: Journal,
    *,
    on_batch: Callable[[int], None],
) -> None:
    """Put what each system hears in every utterance into ``hearing``.

    Args:
        workers: the same systems on as many twins of one model; each takes a batch at a time.
        condition: what they hear; the audio is compared with its digests while it is read.
        hearing: of this condition; systems of other models may be in it already.
        journal: what was heard before a stop is taken from it, the rest put into it.
        on_batch: called with the number of utterances done since the last call.

    Raises:
        InputError: a file cannot be decoded.
        IntegrityError: an audio file is not the one that was prepared.
    """
    durations_s = condition.test_set.durations_s
    turns = workers[0]
    names = turns.names
    done: set[int] = set()
    for batch in journal.earlier(condition.name, names):
        hearing.add(batch, durations_s)
        done.update(batch.indices)
        on_batch(len(batch.indices))
    plan = [batch for batch in _plan(turns, condition) if not done.issuperset(batch)]
    if condition.one_by_one:
        # It measures how long one utterance takes when nothing else is done.
        workers = workers[:1]
    for heard in _heard(workers, condition, plan):
        journal.add(heard)
        hearing.add(heard, durations_s)
        on_batch(len(heard.indices))


def _heard(
    workers: Sequence[Turns], condition: Condition, plan: Sequence[list[int]]
) -> Iterator[HeardBatch]:
    """Yield the batches of ``plan`` in its order, heard by as many threads as there are workers."""
    if len(workers) == 1:
        for indices, waves, snr_db in ahead(_read(condition, batch) for batch in plan):
            yield _take(workers[0], condition, indices, waves, snr_db)
        return
    from tpactl.bases.side_by_side import side_by_side

    def work(turns: Turns, batch: list[int]) -> HeardBatch:
        return _take(turns, condition, *_read(condition, batch), side_by_side=len(workers))

    yield from side_by_side(workers, work, plan)


def _take(
    turns: Turns,
    condition: Condition,
    indices: list[int],
    waves: list[Samples],
    snr_db: list[float | None] | None,
    side_by_side: int = 1,
) -> HeardBatch:
    started = time.perf_counter()
    features = turns.base.features(waves)
    features_s = time.perf_counter() - started
    return HeardBatch(
        condition=condition.name,
        indices=indices,
        turns=[
            evaluation.Turn(
                system=name,
                texts=turn.texts,
                seconds=(turn.seconds + features_s) / side_by_side,
                memory_bytes=turn.memory_bytes,
            )
            for name, turn in turns.take(features, indices).items()
        ],
        snr_db=snr_db,
    )


def warm_up(turns: Turns) -> None:
    """Let each system hear a second of silence.

    The first pass through a model also pays for kernels and buffers; no system should be billed.
    """
    turns.take(turns.base.features([np.zeros(SAMPLE_RATE, dtype=np.float32)]), [0])


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield ``items``, one of which is always being made in a thread meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def _plan(turns: Turns, condition: Condition) -> list[list[int]]:
    """Return indices in batches, of like duration and the longest first."""
    from tpactl.bases.recognise import BATCH_S, CPU_BATCH_S, plan_batches

    if condition.one_by_one:
        return [[index] for index in condition.indices]
    durations_s = [condition.test_set.durations_s[index] for index in condition.indices]
    one_length = turns.base.family.padding_leaks
    longest_s = CPU_BATCH_S if turns.base.device.type == "cpu" else BATCH_S
    planned = plan_batches(durations_s, batch_s=longest_s, one_length=one_length)
    return [[condition.indices[place] for place in batch] for batch in planned]


def _read(
    condition: Condition, indices: list[int]
) -> tuple[list[int], list[Samples], list[float | None] | None]:
    from tpactl.audio.decode import decode

    test_set = condition.test_set
    waves = [decode(test_set.paths[index]).samples for index in indices]
    _check_audio(test_set, indices, waves)
    snr_db = [estimate_snr_db(wave) for wave in waves] if condition.with_snr else None
    if condition.disturb is not None:
        waves = [
            condition.disturb(wave, test_set.utterances[index].id)
            for index, wave in zip(indices, waves, strict=True)
        ]
    return indices, waves, snr_db


def _check_audio(test_set: TestSet, indices: list[int], waves: list[Samples]) -> None:
    from tpactl.audio.write import digest_samples

    for index, wave in zip(indices, waves, strict=True):
        utterance = test_set.utterances[index]
        if digest_samples(wave) != utterance.audio_digest:
            raise IntegrityError(
                f"{test_set.data.audio_path(utterance)} ({utterance.id}) is not the audio that was "
                "prepared: its samples have another digest",
                "copy the data set again, or prepare it again",
            )
