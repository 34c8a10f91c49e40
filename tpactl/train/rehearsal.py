"""A few steps of a training, made to see what they take, and undone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
import torch

from tpactl.bases.base import Base
from tpactl.formats.run import RunConfig
from tpactl.train.batches import Batch, Course
from tpactl.train.checkpoint import serialised
from tpactl.train.cost import Meter
from tpactl.train.dev import measuring_batch_s, measuring_batches
from tpactl.train.device import choose_precision, make_accelerator
from tpactl.train.examples import Split
from tpactl.train.faster import choose
from tpactl.train.loop import Loop
from tpactl.train.prefix_rehearsal import try_prefix
from tpactl.train.ranks import Ranks
from tpactl.train.recompute import recomputed_blocks
from tpactl.train.schedule import plan_steps
from tpactl.train.trained import begin

TYPICAL = 5
"""Steps timed, from the smallest batch to the largest."""


@dataclass(frozen=True)
class Rehearsal:
    """What the steps took."""

    trained_parameters: int
    peak_bytes: int
    """In the largest batch, a dev measurement and a checkpoint, all that is read included."""
    step_s: float
    """Seconds for a second of audio in a step, padding counted."""
    dev_s: float
    """The same in a dev measurement."""
    read_s: float
    """Seconds to read a second of audio, once."""
    features_bytes: float
    """Of the features of a second of audio."""
    read_audio_s: float
    """Seconds of audio whose features are held now."""
    cache_bytes: int
    """Of the cached prefix on disk; then ``read_s`` includes what it takes to compute it."""


def rehearse(
    base: Base,
    config: RunConfig,
    train: Split,
    dev: Split,
    device: str,
    *,
    may_round: bool = False,
) -> Rehearsal:
    """Return what steps on the largest and on typical batches take; ``base`` stays as it was.

    Args:
        base: on ``device``, without an adapter.
        config: resolved.
        train: its features are read here, for the batches that are tried.
        dev: likewise.
        device: where it computes; one process.
        may_round: nobody computes with ``base`` afterwards; its weights may be changed as the
            training would change them in memory.

    Raises:
        MachineError: memory ran out.
    """
    precision = choose_precision(device, config.precision)
    config = msgspec.structs.replace(config, precision=precision)
    settings = config.training
    course, schedule = plan_steps(train.durations, settings)
    tried = _typical(course, train.durations)
    dev_batch_s = measuring_batch_s(settings)
    some_dev = _some_dev(base, dev, dev_batch_s)
    torch.manual_seed(settings.seed)
    meter = Meter(device)
    trained = begin(base, config)
    try:
        with ExitStack() as stack:
            stack.enter_context(recomputed_blocks(base, settings.activation_checkpointing))
            accelerator = make_accelerator(device, precision)
            ranks = Ranks(0, 1, device)
            prefix = None
            if settings.cached_prefix:
                prefix = try_prefix(
                    base,
                    trained.adapter,
                    config,
                    train,
                    dev,
                    some_dev=some_dev,
                    autocast=accelerator.autocast,
                )
            cached = None if prefix is None else prefix.cached
            engine = choose(
                base,
                trained,
                config,
                train,
                course,
                cached=cached,
                ranks=ranks,
                autocast=accelerator.autocast,
                may_round=may_round,
                note=lambda message: None,
            )
            loop = Loop(
                base=base,
                trained=trained,
                train=train,
                dev=dev.select(some_dev),
                settings=settings,
                course=course,
                schedule=schedule,
                accelerator=accelerator,
                engine=engine,
                ranks=ranks,
                meter=meter,
                emit=lambda event: None,
                save=lambda standing, state, optimizer: serialised(
                    standing, state, optimizer
                ).clear(),
                cached=cached,
            )
            if prefix is None:
                read, numbers, audio_s = _read(loop, course, tried, train)
            else:
                read, numbers, audio_s = prefix.seconds, prefix.numbers, prefix.audio_s
            seconds = loop.rehearse(tried)
            peak = meter.peak_memory_bytes()
    finally:
        trained.release()
    # The first step warms up; the largest batch is tried first.
    padded = [_padded_s(course[step][1], train.durations) for step in tried[1:]]
    measured = dev.select(some_dev).durations
    dev_padded = sum(
        _padded_s(batch, measured) for batch in measuring_batches(base, measured, dev_batch_s)
    )
    return Rehearsal(
        trained_parameters=trained.num_parameters,
        peak_bytes=peak,
        step_s=sum(seconds.steps[1:]) / sum(padded),
        dev_s=seconds.dev / dev_padded,
        read_s=read / audio_s,
        features_bytes=4 * numbers / audio_s,
        read_audio_s=audio_s + sum(measured),
        cache_bytes=0 if prefix is None else prefix.num_bytes,
    )


def padded_seconds(course: Course, durations: Sequence[float]) -> float:
    """Return the seconds of audio in all batches, padding counted."""
    return sum(_padded_s(course[step][1], durations) for step in range(len(course)))


def _typical(course: Course, durations: Sequence[float]) -> list[int]:
    """Return the step with the largest batch, twice, then steps from small to large."""
    order = sorted(range(len(course)), key=lambda step: _padded_s(course[step][1], durations))
    places = [round(i * (len(order) - 1) / (TYPICAL - 1)) for i in range(TYPICAL)]
    return [order[-1], *(order[place] for place in places)]


def _some_dev(base: Base, dev: Split, batch_s: float) -> list[int]:
    """Return the utterances of the largest batch of dev, a middle one and the smallest.

    Batches of other shapes leave memory reserved in blocks of other sizes.
    """
    batches = measuring_batches(base, dev.durations, batch_s)
    places = dict.fromkeys((0, len(batches) // 2, len(batches) - 1))
    return [index for place in places for index in batches[place]]


def _padded_s(batch: Batch, durations: Sequence[float]) -> float:
    return len(batch) * max(durations[i] for i in batch)


def _read(
    loop: Loop, course: Course, tried: Sequence[int], train: Split
) -> tuple[float, int, float]:
    """Read the features of the tried batches; return seconds, numbers, seconds of audio."""
    started, numbers, audio_s = time.perf_counter(), 0, 0.0
    for step in dict.fromkeys(tried):
        numbers += loop.read_ahead(step)
        audio_s += sum(train.durations[i] for i in course[step][1])
    return time.perf_counter() - started, numbers, audio_s
