"""What is chosen where the run file says nothing: by method, hours of data and size of the base.

The figures come from trainings of the starter on departments of minutes and of hours; see
``docs/guide/train.md``. Everything chosen here is written into the run's resolved configuration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from tpactl.adapters import settings as adapter_settings
from tpactl.adapters.methods import FULL, METHODS
from tpactl.formats.run import RunConfig, dotted


@dataclass(frozen=True)
class Amount:
    """Defaults for data sets up to an amount of speech."""

    up_to_hours: float
    max_epochs: float
    batch_s: float
    evaluations: int
    weight_decay: float
    """Of bottlenecks on small bases."""
    bottleneck_dim: int
    """Of a TPA: what minutes of speech teach fits in little, hours want more."""
    haste: float = 1.0
    """Factor on an adapter's learning rate."""
    speed_perturbation: bool = True
    disturbed: float = 0.5
    """Share of utterances that get noise, and a room, and a telephone line, where asked for."""


AMOUNTS = (
    Amount(
        0.25,
        max_epochs=20,
        batch_s=15,
        evaluations=10,
        weight_decay=0.3,
        bottleneck_dim=80,
        haste=2.0,
    ),
    Amount(1.0, max_epochs=20, batch_s=30, evaluations=10, weight_decay=0.3, bottleneck_dim=80),
    Amount(5.0, max_epochs=32, batch_s=60, evaluations=16, weight_decay=0.1, bottleneck_dim=256),
    Amount(
        float("inf"),
        max_epochs=10,
        batch_s=240,
        evaluations=20,
        weight_decay=0.1,
        bottleneck_dim=256,
        speed_perturbation=False,
        disturbed=0.3,
    ),
)
"""From little to much. Small batches for few data, or there are too few steps to get anywhere; and
the fewer data, the more an adapter must be kept from learning them by heart."""

SMALL_BASE = 50_000_000
"""Parameters. Smaller bases stand and need larger learning rates."""

LARGE_BASE_DECAY = 0.01
"""AdamW's usual; stronger ones were tried on small bases alone."""

_RATES: dict[tuple[str, bool], tuple[float, float]] = {
    ("tpa", True): (4e-3, 4e-3),
    ("tpa", False): (1e-3, 5e-4),
    ("lora", True): (2e-3, 4e-3),
    ("lora", False): (1e-3, 5e-4),
    ("dora", True): (2e-3, 4e-3),
    ("dora", False): (1e-3, 5e-4),
    ("ia3", True): (5e-2, 4e-3),
    ("ia3", False): (5e-3, 5e-4),
    ("bitfit", True): (1e-2, 4e-3),
    ("bitfit", False): (1e-3, 5e-4),
    ("head", True): (8e-3, 8e-3),
    ("head", False): (1e-3, 1e-3),
    ("full", True): (5e-4, 5e-4),
    ("full", False): (1e-4, 1e-4),
}
"""(method, base is small) to the learning rates of the body and of the decoder. Methods that are
not here learn as ``tpa`` does.

Measured for small bases. For large ones, the usual: an adapter at ten times the rate of full
fine-tuning.
"""

_HASTY = {"tpa", "houlsby", "pfeiffer", "parallel", "lora", "dora"}
"""Methods whose rate follows the amount of speech, on small bases, where that was measured."""

_LOW_RANK = {"lora", "dora"}
"""On small bases they learn better with the base's dropout (51.5 against 52.8 % WER of two hours);
on large ones, which may drop whole layers too, that was not tried."""


def resolve(config: RunConfig, *, hours: float, base_parameters: int) -> RunConfig:
    """Return ``config`` with every ``None`` filled that is not a limit.

    Args:
        config: as the user gave it; what is set stays.
        hours: of speech in the train split.
        base_parameters: of the base.

    Raises:
        UsageError: the configuration asks for what its method does not do.
    """
    amount = _amount(hours)
    is_small = base_parameters < SMALL_BASE
    if config.method == "tpa" and config.adapter.bottleneck_dim is None:
        adapter = msgspec.structs.replace(config.adapter, bottleneck_dim=amount.bottleneck_dim)
        config = msgspec.structs.replace(config, adapter=adapter)
    rate, head_rate = _RATES.get((config.method, is_small), _RATES["tpa", is_small])
    given = config.training
    has_bottlenecks = config.method in METHODS and METHODS[config.method].section == "adapter"
    decay = amount.weight_decay if is_small else LARGE_BASE_DECAY
    chosen = {
        "learning_rate": rate * (amount.haste if is_small and config.method in _HASTY else 1),
        "head_learning_rate": head_rate,
        "max_epochs": amount.max_epochs,
        "batch_s": amount.batch_s,
        "evaluations": amount.evaluations,
        # An adapter learns minutes of speech by heart; this keeps it from doing so.
        "spec_augment": True,
        "speed_perturbation": amount.speed_perturbation,
        "weight_decay": decay if has_bottlenecks else 0.0,
        "dropout": config.method == FULL
        or (is_small and config.method in _LOW_RANK and not given.cached_prefix),
    }
    missing = {key: value for key, value in chosen.items() if getattr(given, key) is None}
    shares = ("noise_probability", "rir_probability", "telephone_probability")
    unsaid = {key: amount.disturbed for key in shares if getattr(config.augment, key) is None}
    return msgspec.structs.replace(
        adapter_settings.resolve(config),
        training=msgspec.structs.replace(given, **missing),
        augment=msgspec.structs.replace(config.augment, **unsaid),
    )


def explain(given: RunConfig, resolved: RunConfig, *, hours: float, base_parameters: int) -> str:
    """Return a sentence on what was chosen and why; nothing where ``given`` left nothing open.

    Args:
        given: as the user gave it.
        resolved: what ``resolve`` made of it.
        hours: as for ``resolve``.
        base_parameters: likewise.
    """
    before, after = dotted(given), dotted(resolved)
    limit = _amount(hours).up_to_hours
    amount = (
        f"up to {limit:g} h" if math.isfinite(limit) else f"more than {AMOUNTS[-2].up_to_hours:g} h"
    )
    size = "below" if base_parameters < SMALL_BASE else "from"
    by_hours = ["adapter.bottleneck_dim"] if given.method == "tpa" else []
    asked_for = {key: bool(getattr(given.augment, key)) for key in ("noise", "rir", "telephone")}
    reasons = {
        f"{hours:.2g} h of speech ({amount})": [
            *(f"training.{key}" for key in ("max_epochs", "batch_s", "evaluations")),
            "training.speed_perturbation",
            "training.weight_decay",
            *by_hours,
            *(f"augment.{key}_probability" for key, is_asked in asked_for.items() if is_asked),
        ],
        f"{given.method} on a base of {base_parameters / 1e6:,.0f} M parameters ({size} "
        f"{SMALL_BASE / 1e6:g} M)": ["training.learning_rate", "training.head_learning_rate"],
        given.method: [
            "training.dropout",
            *(key for key in after if key.startswith("adapter.") and key not in by_hours),
        ],
        "any training": ["training.spec_augment"],
    }
    chosen = []
    for reason, keys in reasons.items():
        open_keys = [key for key in keys if before[key] is None and after[key] is not None]
        values = [f"{key.removeprefix('training.')}={_as_set(after[key])}" for key in open_keys]
        if values:
            chosen.append(f"for {reason}: {', '.join(values)}")
    return "; ".join(chosen)


def _amount(hours: float) -> Amount:
    return next(amount for amount in AMOUNTS if hours <= amount.up_to_hours)


def _as_set(value: object) -> str:
    """Return ``value`` as ``--set`` takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
