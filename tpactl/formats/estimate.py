"""What ``tpactl train --dry-run`` expects a training to take, beside full fine-tuning."""

from __future__ import annotations

from tpactl.formats.files import Record

SCHEMA_VERSION = 1


class MethodEstimate(Record, kw_only=True):
    """One method on one data set, when nothing stops it before its last epoch."""

    method: str
    trained_parameters: int
    memory_bytes: int
    """Peak: of the device on an accelerator, of the process on a CPU, its mapped cache included."""
    fits: bool
    """Whether the device has as much; where it has not, ``memory_bytes`` is a lower bound."""
    seconds: float | None
    """``None`` where it does not fit, so that nothing could be timed."""
    money: float | None
    """``None`` without ``training.price_per_hour``."""
    steps: int
    epochs: float
    batch_s: float
    chosen: str
    """What of the configuration the defaults chose, and why."""
    cache_bytes: int = 0
    """On disk, of the cached prefix; computing it is part of ``seconds``."""


class Estimate(Record, kw_only=True):
    """The estimates, from a few steps that were made and thrown away."""

    schema_version: int = SCHEMA_VERSION
    base: str
    base_parameters: int
    data: str
    train_hours: float
    device: str
    available_memory_bytes: int
    price_per_hour: float
    currency: str
    wanted: MethodEstimate
    full: MethodEstimate
    """Full fine-tuning for as many epochs; the same as ``wanted`` where that is it."""
