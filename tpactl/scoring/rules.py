"""A department's own normaliser: rules from a YAML file.

The version of the rules is the digest of their content, so two figures made under different rules
can never look alike, whatever the file is called.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from tpactl.errors import InputError
from tpactl.formats.files import canonical_json, sha256_of
from tpactl.formats.rules import Replacement, Rules
from tpactl.formats.yaml_file import read_record


def read_rules(path: Path) -> tuple[str, str, Callable[[str], str]]:
    """Return name, version and function of the rules in ``path``.

    Raises:
        InputError: no such file, no YAML, a key or value that is none, or expressions that are not
            regular; all faults of the last kind at once.
    """
    rules, _ = read_record(
        path,
        Rules,
        what="rules of a normaliser",
        flag="--normaliser",
        fix="write it as docs/guide/eval.md shows: unicode, replace, case, punctuation, spelling",
        error=InputError,
    )
    faults = [fault for rule in rules.replace if (fault := _fault(rule))]
    if faults:
        raise InputError(
            f"{path}: {len(faults)} of {len(rules.replace)} replacements are not regular",
            "correct their patterns",
            faults,
        )
    version = sha256_of(canonical_json(rules))
    return rules.name or path.stem, version, _function(rules)


def _fault(rule: Replacement) -> str | None:
    try:
        re.compile(rule.pattern).sub(rule.by, "")
    except (re.error, IndexError) as error:
        return f"{rule.pattern!r} -> {rule.by!r}: {error}"
    return None


def _function(rules: Rules) -> Callable[[str], str]:
    replacements = [(re.compile(rule.pattern), rule.by) for rule in rules.replace]

    def apply(text: str) -> str:
        if rules.unicode is not None:
            text = unicodedata.normalize(rules.unicode, text)
        for pattern, by in replacements:
            text = pattern.sub(by, text)
        if rules.case is not None:
            text = text.lower() if rules.case == "lower" else text.upper()
        if rules.punctuation == "remove":
            text = "".join(c if c in rules.keep or not _is_mark(c) else " " for c in text)
        return " ".join(rules.spelling.get(word, word) for word in text.split())

    return apply


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
