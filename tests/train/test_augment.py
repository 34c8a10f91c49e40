from __future__ import annotations

import numpy as np
import torch

from tpactl.train.augment import (
    FREQUENCY_SHARE,
    SPEEDS,
    TIME_SHARE,
    at_speed,
    draw_speeds,
    spec_augment,
)


def masked(seed: int = 0) -> torch.Tensor:
    features = torch.ones(6, 120, 80)
    lengths = torch.tensor([120, 100, 80, 60, 40, 20])
    out = spec_augment(features, lengths, torch.Generator().manual_seed(seed))
    assert bool((features == 1).all())
    return out == 0


def test_masks_are_whole_bands_and_stretches_no_wider_than_said():
    hidden = masked()
    assert hidden.any()
    for number, length in enumerate((120, 100, 80, 60, 40, 20)):
        bands = hidden[number].all(0).sum()
        frames = hidden[number].all(1).sum()
        rest = ~(hidden[number].all(0)[None] | hidden[number].all(1)[:, None])
        assert not hidden[number][rest].any()
        assert bands <= 2 * (80 * FREQUENCY_SHARE + 1)
        assert frames <= 2 * (length * TIME_SHARE + 1)


def test_masks_of_time_lie_within_the_utterance():
    hidden = masked()
    assert not hidden[5].all(1)[20:].any()


def test_masks_follow_the_generator_alone():
    assert torch.equal(masked(3), masked(3))
    assert not torch.equal(masked(3), masked(4))


def test_a_faster_copy_is_shorter_and_higher():
    time = np.arange(16_000) / 16_000
    wave = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    fast = at_speed(wave, 1.1, 16_000)
    assert abs(len(fast) - 16_000 / 1.1) < 3
    peak = np.abs(np.fft.rfft(fast)).argmax() * 16_000 / len(fast)
    assert abs(peak - 484) < 3
    assert at_speed(wave, 1.0, 16_000) is wave


def test_speeds_differ_between_epochs_and_are_the_same_again():
    drawn = draw_speeds(300, seed=1, epoch=0)
    assert set(drawn) == set(SPEEDS)
    assert drawn == draw_speeds(300, seed=1, epoch=0)
    assert drawn != draw_speeds(300, seed=1, epoch=1)
