"""Read JSON that may come from an attacker: one meaning only, or none."""

from __future__ import annotations

import json
import unicodedata
from typing import Any, NoReturn, TypeVar

import msgspec

from tpactl.errors import IntegrityError

T = TypeVar("T")

GET_IT_AGAIN = "do not use this file; get the package again from where it was published"


def parse(content: bytes, what: str) -> Any:
    """Return the JSON value of ``content``.

    Args:
        content: UTF-8 without a byte-order mark.
        what: the part's name, for messages.

    Raises:
        IntegrityError: no JSON, or JSON that two readers may understand differently: repeated keys,
            NaN, lone surrogates; also control characters, which would reach a terminal.
    """
    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
        _check_text(value)
    except RecursionError as error:
        raise damaged(what, "nested too deeply") from error
    except ValueError as error:
        raise damaged(what, str(error)) from error
    return value


def convert(value: Any, kind: type[T], what: str) -> T:
    """Return ``value`` as a ``kind``, without coercion and without unknown keys.

    Raises:
        IntegrityError: it is none.
    """
    try:
        return msgspec.convert(value, type=kind, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise damaged(what, str(error)) from error


def damaged(what: str, reason: str) -> IntegrityError:
    """Return the error for a part whose content is not what it must be."""
    return IntegrityError(f"{what}: {reason}", GET_IT_AGAIN)


def has_control_characters(text: str, allowed: str = "") -> bool:
    """Return whether ``text`` holds a control character; such could steer a terminal."""
    return any(c not in allowed and unicodedata.category(c) == "Cc" for c in text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        value.encode()  # a lone surrogate is a ValueError here
        if has_control_characters(value):
            raise ValueError(f"a control character in {value[:40]!r}")
    elif isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            raise ValueError("a number beyond every float")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
