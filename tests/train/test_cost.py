from __future__ import annotations

import time

import numpy as np
import torch

from tpactl.train.cost import Meter, available_cores, cpu_threads


def test_the_peak_counts_memory_that_is_free_again():
    meter = Meter("cpu")
    before = meter.peak_memory_bytes()
    large = np.ones(120_000_000, dtype=np.uint8)
    size = large.nbytes
    del large
    assert meter.peak_memory_bytes() >= before + size * 0.8


def test_the_clock_runs_from_the_start():
    meter = Meter("cpu")
    time.sleep(0.02)
    assert 0.02 <= meter.seconds < 5


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with cpu_threads("cpu") as threads:
        assert threads == torch.get_num_threads() <= max(before, available_cores())
    assert torch.get_num_threads() == before
