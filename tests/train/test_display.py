from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tpactl.cli import console
from tpactl.cli.training_display import TrainingDisplay
from tpactl.formats.run import Event, RunConfig
from tpactl.train.events import Plan

PLAN = Plan(
    config=RunConfig(),
    total_steps=10,
    total_epochs=2.0,
    train_utterances=4,
    train_s=8.0,
    dev_utterances=2,
    trained_parameters=5,
    base_parameters=50,
    device="cpu",
    max_seconds=None,
    chosen="for 0.42 h of speech: max_epochs=20",
)
COURSE = [
    Event(kind="note", time_s=0.1, step=0, epoch=0.0, message="two were left out"),
    Event(kind="start", time_s=1.0, step=0, epoch=0.0, dev_wer=0.9, dev_cer=0.5),
    Event(kind="step", time_s=2.0, step=1, epoch=0.2, loss=3.0, audio_s=8.0),
    Event(kind="step", time_s=3.0, step=2, epoch=0.4, loss=1.0, audio_s=40.0),
    Event(kind="dev", time_s=4.0, step=2, epoch=0.4, dev_wer=0.456, dev_cer=0.2, best=True),
]


@pytest.fixture
def shown(monkeypatch):
    def show(**terminal) -> str:
        screen = io.StringIO()
        err = Console(
            file=screen,
            theme=console.THEME,
            highlight=False,
            _environ={"TERM": "xterm"},
            **terminal,
        )
        monkeypatch.setattr(console, "err", err)
        with TrainingDisplay() as display:
            for event in COURSE:
                display.on_event(event, PLAN)
        return re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", screen.getvalue())

    return show


def test_a_terminal_shows_place_loss_dev_wer_speed_and_time_left(shown):
    screen = shown(force_terminal=True, width=100, legacy_windows=False)
    for figure in (
        "epoch 0.4/2", "step 2/10", "loss 2.000", "dev WER 45.6% (best 45.6%)",
        "speed 40x real time", "left 0:16", "chosen for 0.42 h of speech: max_epochs=20",
    ):  # fmt: skip
        assert figure in screen


def test_without_a_terminal_only_notes_are_printed(shown):
    assert shown(force_terminal=False, width=80) == "note:  two were left out\n"
