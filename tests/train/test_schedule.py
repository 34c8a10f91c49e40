from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpactl.formats.run import Event, RunConfig
from tpactl.train.events import Plan, seconds_left
from tpactl.train.schedule import Schedule


def test_the_rate_warms_up_linearly_then_falls_to_zero():
    schedule = Schedule(total_steps=100, warmup_fraction=0.1, evaluations=5)
    assert schedule.factor(0.0) == pytest.approx(0.1)
    assert schedule.factor(0.05) == pytest.approx(0.5)
    assert schedule.factor(0.1) == pytest.approx(1.0)
    assert schedule.factor(0.55) == pytest.approx(0.5)
    assert schedule.factor(1.0) == pytest.approx(0.0)


@given(total=st.integers(1, 500), evaluations=st.integers(1, 40))
def test_dev_is_measured_as_often_as_asked_and_at_the_end(total, evaluations):
    schedule = Schedule(total_steps=total, warmup_fraction=0.1, evaluations=evaluations)
    progress = [schedule.progress(step, 0.0) for step in range(total + 1)]
    due = [schedule.is_evaluation(a, b) for a, b in itertools.pairwise(progress)]
    assert sum(due) == min(evaluations, total)
    assert due[-1]


def test_time_pushes_the_progress_where_it_is_short():
    schedule = Schedule(total_steps=1000, warmup_fraction=0.1, evaluations=5, max_seconds=60)
    assert schedule.progress(10, 30.0) == 0.5
    assert schedule.progress(900, 30.0) == 0.9
    assert schedule.progress(10, 90.0) == 1.0


@pytest.mark.parametrize(
    ("step", "time_s", "max_seconds", "left"),
    [(0, 1.0, None, None), (10, 20.0, None, 180.0), (10, 20.0, 50.0, 30.0), (100, 9.0, None, 0.0)],
)
def test_time_left_follows_the_pace_and_the_limit(step, time_s, max_seconds, left):
    plan = Plan(
        config=RunConfig(),
        total_steps=100,
        total_epochs=1.0,
        train_utterances=1,
        train_s=1.0,
        dev_utterances=1,
        trained_parameters=1,
        base_parameters=1,
        device="cpu",
        max_seconds=max_seconds,
    )
    event = Event(kind="step", time_s=time_s, step=step, epoch=0.0)
    assert seconds_left(event, plan) == left
