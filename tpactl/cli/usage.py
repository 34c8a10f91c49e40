"""A wrong command line in our two lines, whatever words the parser libraries have for it."""

from __future__ import annotations

import re
from typing import Any

from tpactl.errors import UsageError

_SUGGESTED = re.compile(r"(?P<problem>.*)\. Did you mean (?P<names>.*)\?$")
_EXTRA = re.compile(r"got unexpected extra argument.* \((?P<given>.*)\)$")
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}
_NUMBERS = {"int": "a whole number", "float": "a number"}


def explain(error: Any) -> UsageError:
    """Return the two lines of a usage error of typer, whichever parser library it is built on."""
    command = getattr(getattr(error, "ctx", None), "command_path", None) or "tpactl"
    asked = f"run: {command} --help"
    refused = getattr(error.__cause__, "errors", None)
    parameter = getattr(error, "param", None)
    if callable(refused) and parameter is not None:
        name = _name(parameter)
        return UsageError(
            f"{name} {_expectation(refused()[0])}",
            f"give {name} another value; {command} --help explains it",
        )
    near = getattr(error, "possibilities", None)
    if near:
        return UsageError(
            f"no such option: {error.option_name}", f"did you mean: {', '.join(sorted(near))}"
        )
    problem = " ".join(str(error.format_message()).split())
    problem = problem[:1].lower() + problem[1:]
    suggested = _SUGGESTED.match(problem)
    if suggested:
        names = suggested["names"].replace("'", "")
        return UsageError(suggested["problem"], f"did you mean: {command} {names}")
    extra = _EXTRA.match(problem)
    if extra:
        return UsageError(
            f"one argument too many: {extra['given']}",
            f"put quotes around a name with spaces, or {asked}",
        )
    return UsageError(problem.removesuffix("."), asked)


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.make_metavar(None) if parameter.metavar is None else parameter.metavar)
    return max(parameter.opts, key=len)


def _expectation(refused: dict[str, Any]) -> str:
    """Return what was given and what was expected, from one entry of pydantic's list of errors."""
    value, kind, limits = refused["input"], refused["type"], refused.get("ctx", {})
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"is {value}; it must be {word} {limits[key]:g}"
    number = next((text for begin, text in _NUMBERS.items() if kind.startswith(begin)), None)
    if number is not None:
        return f"is {value!r}; it must be {number}"
    said = str(refused["msg"]).removeprefix("Value error, ")
    choices = re.fullmatch(r".* is not one of (.*)", said)
    if choices:
        return f"is {value!r}; it must be one of: {choices[1].replace(chr(39), '')}"
    return f"is {value!r}: {said[:1].lower()}{said[1:]}"
