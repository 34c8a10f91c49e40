"""Bars for whoever waits at a terminal, nothing for anybody else."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from tpactl.cli import console


def screen(width: int = 80, *, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, theme=console.THEME,
        color_system=None,
    )  # fmt: skip


def written(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(console, "PATIENCE_S", 0.05)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize("width", [40, 64, 80])
def test_long_work_shows_stage_count_and_goes_away(impatient, width):
    shown = screen(width)
    bar = console.ProgressBar(shown)
    for done in range(6):
        bar("decode", done, 10)
        time.sleep(0.05)
    bar.close()
    text = written(shown)
    assert "decode" in text
    assert "5/10" in text
    assert text.endswith("\x1b[2K")  # the last thing written erases the bar's line


def test_a_wide_bar_shows_rate_time_left_and_note(impatient):
    shown = screen(100)
    bar = console.ProgressBar(shown)
    bar.note("dev WER 24.1 %")
    for done in range(8):
        bar("train", done, 10)
        time.sleep(0.05)
    bar.close()
    assert "/s" in written(shown)
    assert "00:0" in written(shown)
    assert "dev WER 24.1 %" in written(shown)


def test_short_work_shows_nothing():
    shown = screen()
    bar = console.ProgressBar(shown)
    bar("decode", 1, 2)
    bar.close()
    assert written(shown) == ""


@pytest.mark.parametrize("lacking", ["terminal", "cursor"])
def test_without_a_terminal_that_can_erase_nothing_is_shown(impatient, monkeypatch, lacking):
    if lacking == "cursor":
        monkeypatch.setenv("TERM", "dumb")
    shown = screen(terminal=lacking != "terminal")
    bar = console.ProgressBar(shown)
    bar("decode", 1, 2)
    time.sleep(0.15)
    bar("decode", 2, 2)
    bar.close()
    assert written(shown) == ""


def test_the_bar_goes_away_when_the_work_fails(impatient, monkeypatch):
    shown = screen()
    monkeypatch.setattr(console, "err", shown)
    bar = console.ProgressBar(shown)
    with pytest.raises(ValueError), console.progress():
        raise ValueError
    bar.close()
    bar("late", 1, 2)
    assert "late" not in written(shown)


def test_a_next_step_stands_last_and_whole(capsys):
    console.next_step("tpactl " + "x" * 200)
    assert capsys.readouterr().out == "\nnext:  tpactl " + "x" * 200 + "\n"


@pytest.mark.parametrize(("width", "terminal"), [(40, True), (80, True), (80, False)])
def test_a_digest_among_the_facts_is_never_broken(monkeypatch, width, terminal):
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal is always 80 wide
    shown = screen(width, terminal=terminal)
    monkeypatch.setattr(console, "out", shown)
    digest = "sha256:" + 64 * "a"
    console.facts({"digest": digest, "said": "one two three " * 10})
    assert digest in written(shown)
    # Prose is broken where somebody looks, and left whole where a program reads.
    lines = [line for line in written(shown).splitlines() if "three" in line]
    assert (len(lines) == 1) == (not terminal)
    assert not terminal or max(len(line.rstrip()) for line in lines) <= width, lines
