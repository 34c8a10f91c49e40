"""Put an adapter on a base, and choose which of several is heard."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec

from tpactl.adapters.adapter import Adapter, base_alone
from tpactl.adapters.decoder import own_modules
from tpactl.adapters.methods import Method, find, require
from tpactl.adapters.part import Part
from tpactl.adapters.settings import shape
from tpactl.bases.base import Base
from tpactl.errors import UsageError

Build = Callable[[Base, Any, int], list[Part]]
"""What a method's module defines: (base without an adapter, settings, seed) to fresh parts.

``settings`` is a record of the type of ``Method.defaults``, every key decided.
"""


def attach(
    base: Base,
    method: str,
    settings: msgspec.Struct | None = None,
    *,
    decoder: list[str] | str = "head",
    name: str = "default",
    seed: int = 0,
) -> Adapter:
    """Return a fresh adapter on ``base``, active and in ``eval()``.

    Args:
        base: where it goes.
        method: a name of ``adapters.methods``.
        settings: the method's section of a run file; keys that are ``None`` are the method's own.
        decoder: what of the decoder is trained: ``none``, ``head``, or exact module paths.
        name: for messages and for choosing among several.
        seed: of what starts random.

    Raises:
        UsageError: no such method, or settings that cannot be on this base.
        MachineError: the method needs a library that is not installed.
    """
    found = find(method)
    adapter = make(base, found, shape(found, settings), decoder, name, seed)
    adapter.activate()
    return adapter


def make(
    base: Base, method: Method, settings: Any, decoder: list[str] | str, name: str, seed: int = 0
) -> Adapter:
    """Return a fresh adapter, not active; arguments and errors as ``attach``."""
    require(method)
    build: Build = importlib.import_module(method.module).build
    # Copies carry hooks along, and another adapter's modules.
    with base_alone(base):
        whole = own_modules(base, decoder)
        parts = _outside(build(base, settings, seed), [module.path for module in whole])
        if not parts and not whole:
            raise UsageError(
                f"method {method.name} with decoder none trains nothing",
                "set decoder=head, or choose another method",
            )
        adapter = Adapter(
            base, name=name, method=method, settings=settings, parts=parts, decoder=whole
        )
        # As the base is: whoever trains it switches its dropout on.
        return adapter.eval()


def activate(base: Base, adapter: Adapter | None) -> None:
    """Make ``adapter`` the one that is heard on ``base``; ``None`` is the base alone."""
    if adapter is not None:
        if adapter.base is not base:
            raise ValueError(f"adapter {adapter.name!r} is attached to another base")
        adapter.activate()
    elif base.active_adapter is not None:
        base.active_adapter.deactivate()


def _outside(parts: list[Part], whole: list[str]) -> list[Part]:
    """Return the parts whose modules do not lie in one that is trained whole."""
    kept, faults = [], []
    for part in parts:
        outer = [path for path in whole if f"{part.path}.".startswith(f"{path}.")]
        if not outer:
            kept.append(part)
        elif not part.yields_to_decoder:
            faults.append(f"decoder: {outer[0]} is trained whole and holds the site {part.path}")
    if faults:
        raise UsageError(
            faults[0], "name other decoder modules, or leave their blocks out", faults[1:]
        )
    return kept
