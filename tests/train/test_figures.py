from __future__ import annotations

import pytest
import torch

from tpactl.formats.run import Event
from tpactl.train.figures import STEPS_TOGETHER, ComingFigures
from tpactl.train.ranks import Ranks


def step(figures: ComingFigures, number: int, device: str) -> None:
    event = Event(kind="step", time_s=0.0, step=number, epoch=0.0)
    loss = torch.tensor(float(number), device=device)
    figures.add(event, loss, 10 * loss)


def steps(read) -> list[int]:
    found = [(event.step, loss, norm) for event, loss, norm in read]
    assert all(loss == number and norm == 10 * number for number, loss, norm in found)
    return [number for number, _, _ in found]


def test_on_a_cpu_every_step_is_read_at_once():
    figures = ComingFigures(Ranks(0, 1, "cpu"), "cpu")
    assert not figures.is_due
    for number in (1, 2):
        step(figures, number, "cpu")
        assert figures.is_due
        assert steps(figures.read(everything=False)) == [number]
    assert steps(figures.read(everything=True)) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_steps_are_read_when_the_next_are_copied():
    figures = ComingFigures(Ranks(0, 1, "cuda"), "cuda")
    together = STEPS_TOGETHER
    for number in range(1, together + 1):
        assert not figures.is_due
        step(figures, number, "cuda")
    assert figures.is_due
    assert steps(figures.read(everything=False)) == []
    step(figures, together + 1, "cuda")
    assert steps(figures.read(everything=True)) == list(range(1, together + 2))
