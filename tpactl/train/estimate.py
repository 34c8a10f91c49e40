"""What a training would take: parameters, memory, time and money, beside full fine-tuning."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from tpactl.adapters.methods import FULL
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.errors import MachineError, UsageError
from tpactl.formats.dataset import DataSet
from tpactl.formats.estimate import Estimate, MethodEstimate
from tpactl.formats.progress import Progress
from tpactl.formats.run import RunConfig
from tpactl.train import memory
from tpactl.train.augment import SPEEDS
from tpactl.train.batch_size import resolve
from tpactl.train.batches import Course
from tpactl.train.cost import cpu_threads
from tpactl.train.defaults import explain
from tpactl.train.examples import Split, list_split
from tpactl.train.hearing import Hearing
from tpactl.train.prefix_cache import augmented_copies, check_size, place_of
from tpactl.train.ranks import join
from tpactl.train.reading import check_data
from tpactl.train.rehearsal import Rehearsal, padded_seconds, rehearse
from tpactl.train.schedule import plan_steps
from tpactl.train.surroundings import Surroundings, disturbed_share, look_around


def estimate(data: Path, config: RunConfig, *, on_progress: Progress | None = None) -> Estimate:
    """Return what ``tpactl train`` with ``config`` would take, and full fine-tuning beside it.

    A few steps of each are made and undone, on the batches the training would have; only their
    audio is read.

    Args:
        data: what ``tpactl prepare`` wrote.
        config: the run file.
        on_progress: told which method is tried.

    Raises:
        UsageError: several processes were started; one is estimated.
        TpactlError: as ``train`` raises it.
    """
    ranks = join(config.device)
    if ranks.count > 1:
        raise UsageError(
            f"--dry-run estimates one process, and {ranks.count} were started",
            "run it without torchrun",
        )
    dataset = DataSet(data)
    check_data(dataset)
    surroundings = look_around(config.augment, on_progress)
    methods = list(dict.fromkeys([config.method, FULL]))
    estimates = {}
    with cpu_threads(ranks.device):
        for number, method in enumerate(methods):
            if on_progress is not None:
                on_progress("try steps", number, len(methods))
            # Loaded anew for each: a rehearsal leaves the weights as its training would hold them.
            base = load_base(config.base, device=ranks.device)
            base_parameters = base.num_parameters
            wanted = _as(config, method)
            estimates[method] = _one(base, dataset, wanted, surroundings, ranks.device)
            del base
            memory.release(ranks.device)
    train_s = sum(row.duration for row in dataset.utterances("train"))
    return Estimate(
        base=config.base,
        base_parameters=base_parameters,
        data=str(data),
        train_hours=train_s / 3600,
        device=ranks.device,
        available_memory_bytes=memory.available_bytes(ranks.device),
        price_per_hour=config.training.price_per_hour,
        currency=config.training.currency,
        wanted=estimates[config.method],
        full=estimates[FULL],
    )


def _as(config: RunConfig, method: str) -> RunConfig:
    """Return ``config`` for another method, whose own rates and dropout are chosen anew."""
    if method == config.method:
        return config
    training = msgspec.structs.replace(
        config.training,
        learning_rate=None,
        head_learning_rate=None,
        weight_decay=None,
        dropout=None,
        # It trains every block, so that nothing below stays the same.
        cached_prefix=False,
    )
    return msgspec.structs.replace(config, method=method, training=training)


def _one(
    base: Base, dataset: DataSet, config: RunConfig, surroundings: Surroundings, device: str
) -> MethodEstimate:
    # Read anew for each method, as its training would.
    train, dev = (
        list_split(base, dataset, split, limit_bytes=config.training.features_mb * 2**20)
        for split in ("train", "dev")
    )
    given, config = config, resolve(base, config, train, dev, device)
    train = train.augmented(Hearing(config, surroundings))
    course, _ = plan_steps(train.durations, config.training)
    assert isinstance(config.training.batch_s, float | int)
    # Weights, gradients and AdamW's two moments in float32, before any activation.
    at_least = max(16 * base.num_parameters, memory.available_bytes(device))
    too_large = MethodEstimate(
        method=config.method,
        trained_parameters=base.num_parameters,
        memory_bytes=at_least,
        fits=False,
        seconds=None,
        money=None,
        steps=len(course),
        epochs=course.epochs_after(len(course)),
        batch_s=config.training.batch_s,
        chosen=explain(
            given,
            config,
            hours=sum(train.durations) / 3600,
            base_parameters=base.num_parameters,
        ),
    )
    try:
        tried = rehearse(base, config, train, dev, device, may_round=True)
    except (MachineError, RuntimeError, MemoryError) as error:
        if not (isinstance(error, MachineError) or memory.is_out_of_memory(error)):
            raise
        return too_large
    if tried.cache_bytes:
        place = place_of(dataset, config.training)
        check_size(tried.cache_bytes, place, config.training.cache_gb)
    seconds = _seconds(tried, course, config, train, dev)
    on_gpu = device.startswith("cuda")
    peak = tried.peak_bytes + (0 if on_gpu else _unread(tried, config, train, dev))
    # A file that is mapped counts as resident, but the system takes its pages where it needs them.
    mapped = 0 if on_gpu else tried.cache_bytes
    price = config.training.price_per_hour
    return msgspec.structs.replace(
        too_large,
        trained_parameters=tried.trained_parameters,
        memory_bytes=round(peak) + mapped,
        fits=peak <= memory.available_bytes(device),
        seconds=seconds,
        money=price * seconds / 3600 if price else None,
        cache_bytes=tried.cache_bytes,
    )


def _seconds(
    tried: Rehearsal, course: Course, config: RunConfig, train: Split, dev: Split
) -> float:
    settings = config.training
    assert settings.evaluations is not None
    train_s = sum(train.durations)
    if settings.cached_prefix:
        read_s = augmented_copies(settings, config.augment) * train_s
    else:
        # What is disturbed sounds different in each epoch, so it is never kept.
        share = disturbed_share(config.augment)
        read_s = (_copies(config) + share * (settings.max_epochs or 1)) * train_s
    read = tried.read_s * (read_s + sum(dev.durations))
    steps = tried.step_s * padded_seconds(course, train.durations)
    measuring = tried.dev_s * sum(dev.durations) * (settings.evaluations + 1)
    seconds = read + steps + measuring
    return min(seconds, 60 * settings.max_minutes) if settings.max_minutes else seconds


def _unread(tried: Rehearsal, config: RunConfig, train: Split, dev: Split) -> float:
    """Return the bytes of the features that the training will hold and the rehearsal did not."""
    limit = config.training.features_mb * 2**20
    held = [
        min(limit, tried.features_bytes * copies * sum(split.durations))
        for split, copies in ((train, _copies(config)), (dev, 1))
    ]
    return max(0.0, sum(held) - tried.features_bytes * tried.read_audio_s)


def _copies(config: RunConfig) -> int:
    """Return at how many speeds each training utterance is played: so often it is read and kept."""
    settings = config.training
    if not settings.speed_perturbation:
        return 1
    kept = settings.cached_copies if settings.cached_prefix else None
    return min(len(SPEEDS), kept or math.ceil(settings.max_epochs or 1))
