"""Was a system trained on what it is tested on? By the digests its run or package stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from tpactl.errors import InputError
from tpactl.eval.departments import DEPARTMENTS
from tpactl.eval.systems import System, TrainingContent
from tpactl.eval.testset import TestSet
from tpactl.formats.dataset import Utterance
from tpactl.formats.report import Leak, Report
from tpactl.formats.run import text_digest

SLIGHT = 0.05
"""Share of a test whose words may occur in the training before its figures are doubted: short
sentences are said by more than one speaker."""


def leaks(
    test_set: TestSet,
    systems: Sequence[System],
    data: Literal["test", "general"],
    owners: Sequence[str | None] | None = None,
) -> list[Leak]:
    """Return, for each system that shares something with what it is tested on, what it shares.

    Args:
        test_set: what is heard.
        systems: trained ones.
        data: what the test set is.
        owners: of departments, the system that hears each utterance; ``None``: every system hears
            all of them.
    """
    rows = [(row, text_digest(row.text)) for row in test_set.utterances]
    if owners is None:
        heard = {each.name: [(*row, each.training) for row in rows] for each in systems}
    else:
        training = {each.name: each.training for each in systems}
        heard = {
            DEPARTMENTS: [
                (*row, training[owner])
                for row, owner in zip(rows, owners, strict=True)
                if owner is not None
            ]
        }
    found = (_shared(each, name, data) for name, each in heard.items())
    return [leak for leak in found if leak is not None]


def refuse(found: Sequence[Leak]) -> None:
    """Raise where there is any leak, naming each.

    Raises:
        InputError: a system was trained on part of a test.
    """
    if found:
        raise InputError(
            f"{len(found)} of the comparisons rest on audio, texts or speakers of the training",
            "test on speakers that no system was trained on, or allow it: leave out --strict",
            [_sentence(leak, [leak.system]) for leak in found],
        )


def alike(report: Report) -> list[tuple[Leak, list[str]]]:
    """Return each leak of ``report`` once, with the systems that share the same."""
    found: dict[Leak, list[str]] = {}
    for leak in report.leaks:
        found.setdefault(replace(leak, system=""), []).append(leak.system)
    return list(found.items())


def is_slight(leak: Leak, report: Report) -> bool:
    """Return whether nothing but the words of a few utterances is shared."""
    whole = report.utterances
    if leak.data == "general" and report.general is not None:
        whole = report.general.utterances
    return not (leak.speakers or leak.same_audio) and leak.utterances < SLIGHT * whole


def note(leak: Leak, systems: Sequence[str], report: Report) -> str:
    """Return what ``systems`` share with a test, and what that means for the figures."""
    if is_slight(leak, report):
        where = "test" if leak.data == "test" else "general"
        return (
            f"the words of {leak.same_text} {where} utterances also occur in the training of "
            f"{'; '.join(systems)}, spoken by others; that can flatter the figures a little."
        )
    flatters = "its figures flatter it" if len(systems) == 1 else "it flatters them"
    return f"{_sentence(leak, systems)}; {flatters}."


def _sentence(leak: Leak, systems: Sequence[str]) -> str:
    shared = [
        f"{leak.speakers} speakers" if leak.speakers else "",
        f"the words of {leak.same_text}" if leak.same_text else "",
        f"the very audio of {leak.same_audio}" if leak.same_audio else "",
    ]
    where = "this test" if leak.data == "test" else "the general set"
    were, their = ("was", "its") if len(systems) == 1 else ("were", "their")
    return (
        f"{'; '.join(systems)} {were} trained on part of {where}: {leak.utterances} utterances "
        f"occur in {their} training ({', '.join(filter(None, shared))})"
    )


def _shared(
    heard: Sequence[tuple[Utterance, str, TrainingContent]],
    system: str,
    data: Literal["test", "general"],
) -> Leak | None:
    """Return what utterances, each with its text's digest, share with the training of who hears."""
    by_speaker = [row.speaker in known.speakers for row, _, known in heard]
    by_text = [text in known.text_digests for _, text, known in heard]
    by_audio = [row.audio_digest in known.audio_digests for row, _, known in heard]
    touched = [any(ways) for ways in zip(by_speaker, by_text, by_audio, strict=True)]
    if not any(touched):
        return None
    return Leak(
        system=system,
        utterances=sum(touched),
        speakers=len(
            {row.speaker for (row, *_), is_known in zip(heard, by_speaker, strict=True) if is_known}
        ),
        same_text=sum(by_text),
        same_audio=sum(by_audio),
        data=data,
    )
