"""What each system costs to train, store and run; against full fine-tuning; for N departments.

Seconds, bytes and parameters are measured; prices are the owner's. A full fine-tune is a model of
its own, so N departments store N models; adapters share one base.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tpactl.errors import InputError
from tpactl.formats.report import (
    AgainstFull,
    Cost,
    Costs,
    Prices,
    Projection,
    SystemResult,
)
from tpactl.formats.yaml_file import read_record

_JOULES_PER_KWH = 3_600_000.0


def read_prices(path: Path) -> Prices:
    """Return the prices of a YAML file: currency, price_per_hour, watts, price_per_kwh.

    Raises:
        InputError: no such file, or not these keys and numbers.
    """
    fix = "write price_per_hour, watts, price_per_kwh and currency into it"
    prices, _ = read_record(
        path, Prices, what="prices", flag="--prices", fix=fix, key="price", error=InputError
    )
    check_prices(prices)
    return prices


def check_prices(prices: Prices) -> None:
    """Raise where a price is no amount.

    Raises:
        InputError: one is negative or not finite.
    """
    amounts = {
        "price_per_hour": prices.price_per_hour,
        "watts": prices.watts,
        "price_per_kwh": prices.price_per_kwh,
    }
    faults = [
        f"{name} is {amount}"
        for name, amount in amounts.items()
        if amount is not None and not 0 <= amount < float("inf")
    ]
    if faults:
        raise InputError("; ".join(faults), "give numbers of 0 or more")


def costs(
    systems: Sequence[SystemResult],
    full: str | None,
    prices: Prices,
    *,
    departments: int,
    base_bytes: int,
    base_parameters: int,
) -> Costs:
    """Return the cost of every system.

    Args:
        systems: as measured, the base among them.
        full: the name of the full fine-tune that the others are set against.
        prices: of the machine that trains and recognises.
        departments: N of the projection.
        base_bytes: what the base takes to store.
        base_parameters: of the base.
    """
    whole = next((system for system in systems if system.name == full), None)
    return Costs(
        prices=prices,
        departments=departments,
        base_bytes=base_bytes,
        base_parameters=base_parameters,
        systems=[
            _cost(system, whole, prices, departments=departments, base_bytes=base_bytes)
            for system in systems
        ],
    )


def _cost(
    system: SystemResult,
    full: SystemResult | None,
    prices: Prices,
    *,
    departments: int,
    base_bytes: int,
) -> Cost:
    # Seconds of computation an hour of audio.
    hourly_s = system.real_time_factor * 3600
    return Cost(
        system=system.name,
        trained_parameters=system.trained_parameters,
        size_bytes=system.size_bytes,
        train_seconds=system.train_seconds,
        train_memory_bytes=system.peak_memory_bytes,
        real_time_factor=system.real_time_factor,
        real_time_factor_single=system.real_time_factor_single,
        inference_memory_bytes=system.inference_memory_bytes,
        train_money=_money(system.train_seconds, prices),
        train_kwh=_kwh(system.train_seconds, prices),
        money_per_audio_hour=_money(hourly_s, prices),
        kwh_per_audio_hour=_kwh(hourly_s, prices),
        against_full=None if full in (None, system) else _against(system, full, prices),
        projection=_projection(system, prices, departments, base_bytes),
    )


def _against(system: SystemResult, full: SystemResult, prices: Prices) -> AgainstFull:
    return AgainstFull(
        trained_parameters=_share(system.trained_parameters, full.trained_parameters),
        size_bytes=_share(system.size_bytes, full.size_bytes),
        train_seconds=_share(system.train_seconds, full.train_seconds),
        train_memory_bytes=_share(system.peak_memory_bytes, full.peak_memory_bytes),
        real_time_factor=_share(system.real_time_factor, full.real_time_factor),
        train_money=_share(
            _money(system.train_seconds, prices), _money(full.train_seconds, prices)
        ),
    )


def _projection(
    system: SystemResult, prices: Prices, departments: int, base_bytes: int
) -> Projection | None:
    # Departments are many adapters already.
    if system.kind in ("base", "departments") or system.size_bytes is None:
        return None
    shared = 0 if system.kind == "full" else base_bytes
    seconds = None if system.train_seconds is None else system.train_seconds * departments
    return Projection(
        stored_bytes=shared + departments * system.size_bytes,
        train_seconds=seconds,
        train_money=_money(seconds, prices),
        train_kwh=_kwh(seconds, prices),
    )


def _kwh(seconds: float | None, prices: Prices) -> float | None:
    if seconds is None or prices.watts is None:
        return None
    return seconds * prices.watts / _JOULES_PER_KWH


def _money(seconds: float | None, prices: Prices) -> float | None:
    """Return the machine's time and its power in money; ``None`` where neither has a price."""
    if seconds is None:
        return None
    machine = None if prices.price_per_hour is None else seconds / 3600 * prices.price_per_hour
    kwh = _kwh(seconds, prices)
    power = None if kwh is None or prices.price_per_kwh is None else kwh * prices.price_per_kwh
    known = [part for part in (machine, power) if part is not None]
    return sum(known) if known else None


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole
