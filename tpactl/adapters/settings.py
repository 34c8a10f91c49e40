"""Which keys of a run file shape the chosen method, and what they are where nothing is set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tpactl.adapters.methods import FULL, METHODS, Method, find, require
from tpactl.errors import UsageError
from tpactl.formats.files import to_builtins
from tpactl.formats.run import RunConfig


def shape(method: Method, given: msgspec.Struct | None) -> Any:
    """Return the method's settings: what ``given`` sets, over the method's own.

    Args:
        method: whose.
        given: its section of a run file; ``None`` and keys that are ``None`` set nothing.

    Returns:
        A record of the type of ``method.defaults``; ``None`` for a method without a shape.
    """
    if method.defaults is None or given is None:
        return method.defaults
    chosen = {key: value for key, value in to_builtins(given).items() if value is not None}
    return msgspec.convert({**to_builtins(method.defaults), **chosen}, type(method.defaults))


def check(config: RunConfig) -> None:
    """Refuse a configuration whose method is unknown, not installed, or has nothing to train.

    Raises:
        UsageError: it is unknown, or has nothing to train.
        MachineError: the library it needs is not installed.
    """
    if config.method != FULL:
        require(find(config.method))
    if config.method == FULL and config.decoder != "head":
        raise UsageError(
            f"decoder is {config.decoder}, but method full trains every weight",
            "leave decoder out, or choose another method",
        )
    if config.method == "head" and config.decoder in ("none", []):
        raise UsageError(
            "method head with decoder none trains nothing", "leave decoder out, or name modules"
        )


def check_read(method: str, keys: Sequence[str]) -> None:
    """Refuse keys that shape other methods than the chosen one.

    A run file may hold sections for several methods; a key that was asked for by name would be
    missed.

    Args:
        method: the chosen one, a known name.
        keys: dotted, as given to ``--set``.

    Raises:
        UsageError: with every such key.
    """
    section = None if method == FULL else find(method).section
    others = {other.section for other in METHODS.values()} - {section}
    unread = [key for key in keys if key.partition(".")[0] in others]
    if unread:
        reads = f"its keys begin with {section}." if section else "it has no keys of its own"
        raise UsageError(
            f"method {method} does not read {', '.join(unread)}; {reads}",
            "leave these keys out, or choose the method that reads them",
        )


def resolve(config: RunConfig) -> RunConfig:
    """Return ``config`` with every key of its method's section decided.

    Raises:
        TpactlError: as ``check``.
    """
    check(config)
    if config.method == FULL:
        return config
    method = find(config.method)
    if method.section is None:
        return config
    given = getattr(config, method.section)
    decided = msgspec.convert(to_builtins(shape(method, given)), type(given))
    return msgspec.structs.replace(config, **{method.section: decided})
