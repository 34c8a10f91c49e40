"""The registry of methods: what ``--method`` may name besides ``full``.

A new method is one file with a function that builds its ``Adapter``, and one call of ``register``.
The method ``full`` is no adapter: training unfreezes the model itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tpactl.adapters.adapter import Adapter
from tpactl.bases.base import Base
from tpactl.formats.adapter import TPASettings

Build = Callable[[Base, TPASettings, str, int], Adapter]
"""(base, settings, adapter name, seed) to a fresh, inactive adapter."""


@dataclass(frozen=True)
class Method:
    """One way to adapt a base."""

    name: str
    peft_type: str
    summary: str
    build: Build


BUILT_IN = ("tpa", "head")
"""Files of this room; importing one registers its method. In the order users read them."""

METHODS: dict[str, Method] = {}


def register(method: Method) -> None:
    """Add ``method``; a name or PEFT type taken already is a bug and raises ``ValueError``."""
    taken = {m.name for m in METHODS.values()} | {m.peft_type for m in METHODS.values()}
    for name in (method.name, method.peft_type):
        if name in taken:
            raise ValueError(f"adapter method {name!r} is registered twice")
    METHODS[method.name] = method


def load_methods() -> dict[str, Method]:
    """Return the registry with every built-in method in it."""
    for name in BUILT_IN:
        importlib.import_module(f"tpactl.adapters.{name}")
    return METHODS
