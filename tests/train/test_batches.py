from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tpactl.train.batches import Course, epoch_batches, pack

durations = st.lists(st.floats(0.2, 30.0), min_size=1, max_size=60)


@given(lengths=durations, batch_s=st.floats(1.0, 90.0), seed=st.integers(0, 99))
def test_an_epoch_has_every_utterance_once_in_batches_that_fit(lengths, batch_s, seed):
    batches = epoch_batches(lengths, batch_s, seed=seed, epoch=3)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert padded <= batch_s or len(batch) == 1


def test_batches_follow_seed_and_epoch_alone():
    lengths = [1 + (7 * i % 13) / 3 for i in range(50)]
    first = epoch_batches(lengths, 20, seed=0, epoch=0)
    assert first == epoch_batches(lengths, 20, seed=0, epoch=0)
    assert first != epoch_batches(lengths, 20, seed=0, epoch=1)
    assert first != epoch_batches(lengths, 20, seed=1, epoch=0)


def test_like_durations_train_together_so_that_little_is_padding():
    lengths = [1 + 19 * (i % 100) / 99 for i in range(400)]
    batches = epoch_batches(lengths, 60, seed=0, epoch=0)
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert sum(lengths) / padded > 0.85


def test_an_utterance_longer_than_a_batch_is_one_of_its_own():
    assert pack([5.0, 100.0, 5.0], 60) == [[0], [1], [2]]


def test_a_course_counts_epochs_and_stops_at_the_limit_of_steps():
    whole = Course([2.0] * 10, batch_s=4, seed=0, max_epochs=3, max_steps=None)
    assert len(whole) == 15
    assert whole.epochs_after(15) == 3
    assert whole.epochs_after(5) == 1
    assert [whole[step][0] for step in (0, 4, 5, 14)] == [0, 0, 1, 2]
    short = Course([2.0] * 10, batch_s=4, seed=0, max_epochs=3, max_steps=7)
    assert [short[i] for i in range(7)] == [whole[i] for i in range(7)]
    assert len(short) == 7
    assert len(Course([2.0] * 10, batch_s=4, seed=0, max_epochs=2.4, max_steps=None)) == 12
    assert len(Course([2.0], batch_s=4, seed=0, max_epochs=0.1, max_steps=None)) == 1
