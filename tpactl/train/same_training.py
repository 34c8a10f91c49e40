"""Whether a training may be resumed: its data, base and settings must be those it began with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tpactl.errors import UsageError
from tpactl.formats.checkpoint import Checkpoint
from tpactl.formats.run import RunConfig, dotted

MAY_CHANGE = {
    "data",
    "base",
    "augment.noise",
    "augment.rir",
    "fast",
    "training.accumulate",
    "training.activation_checkpointing",
    "training.features_mb",
    "training.cache_gb",
    "training.cache_dir",
    "training.checkpoint_minutes",
    "training.keep_checkpoints",
    "training.log_to",
    "training.price_per_hour",
    "training.currency",
}
"""Keys that change no weight but for rounding; folders are compared by what they hold."""


@dataclass(frozen=True)
class Identity:
    """What a training must share with the one it continues."""

    config: RunConfig
    base_digest: str
    data_digest: str
    augment_digests: dict[str, str]


def refuse_another(saved: Checkpoint, now: Identity) -> None:
    """Refuse to continue ``saved`` as another training.

    Raises:
        UsageError: data, base or settings differ; each is named, old and new.
    """
    faults = differences(_settings(saved.config), _settings(now.config))
    if saved.data_digest != now.data_digest:
        faults.append(
            f"data: {saved.data_digest} ({saved.config.data}) when it began, "
            f"{now.data_digest} ({now.config.data}) now"
        )
    if saved.base_digest != now.base_digest:
        faults.append(
            f"base: {saved.base_digest} ({saved.config.base}) when it began, "
            f"{now.base_digest} ({now.config.base}) now"
        )
    was, now_is = saved.augment_digests, now.augment_digests
    faults += [
        f"augment.{name}: {was.get(name, 'none')} when it began, {now_is.get(name, 'none')} now"
        for name in sorted(was.keys() | now_is.keys())
        if was.get(name) != now_is.get(name)
    ]
    if faults:
        raise UsageError(
            f"the unfinished training at step {saved.step} is another one: {faults[0]}",
            "give --resume no other setting than --out, or start anew with --force",
            faults[1:],
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each key whose value is another one now, by the order of the keys.

    Values stand as a run file has them.
    """
    return [
        f"{key}: {json.dumps(old.get(key))} when it began, {json.dumps(new.get(key))} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return what must be equal, under dotted keys."""
    flat = dotted(config)
    # Another GPU of the same machine computes the same.
    flat["device"] = str(flat["device"]).partition(":")[0]
    return {key: value for key, value in flat.items() if key not in MAY_CHANGE}
