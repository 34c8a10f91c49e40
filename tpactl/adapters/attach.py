"""Put an adapter on a base, and choose which of several is heard."""

from __future__ import annotations

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.methods import load_methods
from tpactl.bases.base import Base
from tpactl.errors import UsageError
from tpactl.formats.adapter import TPASettings


def attach(
    base: Base, method: str, settings: TPASettings, *, name: str = "default", seed: int = 0
) -> Adapter:
    """Return a fresh adapter on ``base``, active.

    Raises:
        UsageError: no such method, or settings that cannot be on this base.
    """
    methods = load_methods()
    if method not in methods:
        known = ", ".join([*methods, "full"])
        raise UsageError(f"no adapter method {method!r}", f"choose one of: {known}")
    adapter = methods[method].build(base, settings, name, seed)
    adapter.activate()
    return adapter


def activate(base: Base, adapter: Adapter | None) -> None:
    """Make ``adapter`` the one that is heard on ``base``; ``None`` is the base alone."""
    if adapter is not None:
        if adapter.base is not base:
            raise ValueError(f"adapter {adapter.name!r} is attached to another base")
        adapter.activate()
    elif base.active_adapter is not None:
        base.active_adapter.deactivate()
