"""How a report speaks of what its systems were trained on."""

from __future__ import annotations

from types import SimpleNamespace

from tpactl.eval.leaks import alike, is_slight, note
from tpactl.formats.report import Leak


def leak(system, utterances=4, speakers=0, audio=0, data="test"):
    return Leak(
        system=system,
        utterances=utterances,
        speakers=speakers,
        same_text=utterances,
        same_audio=audio,
        data=data,
    )


def report(*leaks, utterances=1223, general=None):
    return SimpleNamespace(leaks=list(leaks), utterances=utterances, general=general)


def test_systems_that_share_the_same_are_told_of_once():
    given = report(leak("tpa"), leak("lora"), leak("other", 5), leak("lora", data="general"))
    assert [(found.utterances, found.data, systems) for found, systems in alike(given)] == [
        (4, "test", ["tpa", "lora"]), (5, "test", ["other"]), (4, "general", ["lora"]),
    ]  # fmt: skip


def test_the_words_of_a_few_utterances_are_no_reason_to_doubt_the_figures():
    given = report(leak("tpa"), general=SimpleNamespace(utterances=50))
    assert is_slight(leak("tpa"), given)
    assert not is_slight(leak("tpa", speakers=1), given)
    assert not is_slight(leak("tpa", audio=1), given)
    assert not is_slight(leak("tpa", utterances=62), given)
    assert not is_slight(leak("tpa", data="general"), given)
    assert note(leak(""), ["tpa", "lora"], given) == (
        "the words of 4 test utterances also occur in the training of tpa; lora, spoken by "
        "others; that can flatter the figures a little."
    )


def test_everything_else_flatters_whoever_was_trained_on_it():
    found = leak("", speakers=2)
    assert note(found, ["tpa"], report()) == (
        "tpa was trained on part of this test: 4 utterances occur in its training (2 speakers, "
        "the words of 4); its figures flatter it."
    )
    assert note(found, ["tpa", "lora"], report()) == (
        "tpa; lora were trained on part of this test: 4 utterances occur in their training "
        "(2 speakers, the words of 4); it flatters them."
    )
