"""``training.batch_s: auto``: as much audio an update as the accelerator's memory holds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tpactl.bases.base import Base
from tpactl.errors import MachineError
from tpactl.formats.run import RunConfig
from tpactl.train import defaults
from tpactl.train.examples import Split
from tpactl.train.memory import USABLE, available_bytes, is_out_of_memory, release
from tpactl.train.rehearsal import rehearse

MIN_UPDATES = 8
"""An epoch; a batch so large that it leaves fewer teaches less, however well it fits."""


def resolve(base: Base, config: RunConfig, train: Split, dev: Split, device: str) -> RunConfig:
    """Return ``config`` with every ``None`` filled, and a number in the place of ``auto``.

    Args:
        base: on ``device``, without an adapter.
        config: as the user gave it.
        train: what will be learnt from.
        dev: what will be measured on.
        device: where it computes.

    Raises:
        MachineError: not even a small batch fits.
    """
    hours = sum(train.durations) / 3600
    is_auto = config.training.batch_s == "auto"
    given = _with_batch(config, None) if is_auto else config
    resolved = defaults.resolve(given, hours=hours, base_parameters=base.num_parameters)
    start = resolved.training.batch_s
    assert isinstance(start, float | int)
    if not is_auto or device == "cpu":
        return resolved
    limit_s = max(start, sum(train.durations) / MIN_UPDATES)

    def fits(batch_s: float) -> bool:
        release(device)
        try:
            tried = rehearse(base, _with_batch(resolved, batch_s), train, dev, device)
        except (MachineError, RuntimeError) as error:
            if not (isinstance(error, MachineError) or is_out_of_memory(error)):
                raise
            return False
        return tried.peak_bytes <= USABLE * available_bytes(device)

    return _with_batch(resolved, largest_batch_s(start, limit_s, fits))


def largest_batch_s(start: float, limit_s: float, fits: Callable[[float], bool]) -> float:
    """Return the largest of ``start`` times or divided by powers of two that fits.

    Args:
        start: seconds, tried first.
        limit_s: never more, unless ``start`` is.
        fits: whether a batch of so many seconds does.

    Raises:
        MachineError: not even a sixty-fourth of ``start`` does.
    """
    batch_s = start
    if fits(batch_s):
        while 2 * batch_s <= limit_s and fits(2 * batch_s):
            batch_s *= 2
        return batch_s
    while batch_s > start / 64:
        batch_s /= 2
        if fits(batch_s):
            return batch_s
    raise MachineError(
        f"no batch fits into the device's memory, not even {batch_s:.3g} s of audio",
        "set training.activation_checkpointing=true, or use a larger device",
    )


def _with_batch(config: RunConfig, batch_s: float | None) -> RunConfig:
    training = msgspec.structs.replace(config.training, batch_s=batch_s)
    return msgspec.structs.replace(config, training=training)
