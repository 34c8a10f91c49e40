"""Was a system trained on what it is tested on? By the digests its run or package stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tpactl.errors import InputError
from tpactl.eval.systems import System
from tpactl.eval.testset import TestSet
from tpactl.formats.report import Leak
from tpactl.formats.run import text_digest


def leaks(
    test_set: TestSet, systems: Sequence[System], data: Literal["test", "general"]
) -> list[Leak]:
    """Return, for each system that shares something with the test set, what it shares."""
    texts = [text_digest(utterance.text) for utterance in test_set.utterances]
    return [leak for s in systems if (leak := _shared(test_set, texts, s, data)) is not None]


def refuse(found: Sequence[Leak]) -> None:
    """Raise where there is any leak, naming each.

    Raises:
        InputError: a system was trained on part of a test.
    """
    if found:
        raise InputError(
            f"{len(found)} of the comparisons rest on audio, texts or speakers of the training",
            "test on speakers that no system was trained on, or allow it: leave out --strict",
            [sentence(leak) for leak in found],
        )


def sentence(leak: Leak) -> str:
    """Return what is shared, in words."""
    shared = [
        f"{leak.speakers} speakers" if leak.speakers else "",
        f"the words of {leak.same_text}" if leak.same_text else "",
        f"the very audio of {leak.same_audio}" if leak.same_audio else "",
    ]
    where = "this test" if leak.data == "test" else "the general set"
    return (
        f"{leak.system} was trained on part of {where}: {leak.utterances} utterances occur in its "
        f"training ({', '.join(filter(None, shared))})"
    )


def _shared(
    test_set: TestSet, texts: Sequence[str], system: System, data: Literal["test", "general"]
) -> Leak | None:
    known = system.training
    by_speaker = [u.speaker in known.speakers for u in test_set.utterances]
    by_text = [text in known.text_digests for text in texts]
    by_audio = [u.audio_digest in known.audio_digests for u in test_set.utterances]
    touched = [any(ways) for ways in zip(by_speaker, by_text, by_audio, strict=True)]
    if not any(touched):
        return None
    return Leak(
        system=system.name,
        utterances=sum(touched),
        speakers=len(known.speakers & set(test_set.speakers)),
        same_text=sum(by_text),
        same_audio=sum(by_audio),
        data=data,
    )
