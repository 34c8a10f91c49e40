"""Noise, rooms and telephones do to recorded speech what their names promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tpactl.audio.decode import decode
from tpactl.audio.noise import add_noise
from tpactl.audio.room import reverberate
from tpactl.audio.telephone import CODECS, over_telephone

RATE = 16_000
WAREHOUSE = Path(__file__).parents[2] / "examples" / "warehouse"


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A sentence, with an odd number of samples."""
    samples = decode(sorted(WAREHOUSE.glob("train/*.opus"))[0]).samples
    return samples[: len(samples) - 1 + len(samples) % 2]


def power(samples: np.ndarray) -> float:
    return float(np.mean(samples.astype(np.float64) ** 2))


def decibels(ratio: float) -> float:
    return 10 * np.log10(ratio + 1e-12)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 30.0])
def test_noise_reaches_the_ratio_over_the_whole_utterance(speech, snr_db):
    noise = np.random.default_rng(0).normal(size=len(speech)).astype(np.float32)
    added = add_noise(speech, noise, snr_db) - speech
    assert decibels(power(speech) / power(added)) == pytest.approx(snr_db, abs=0.01)


def test_noise_without_power_and_speech_without_sound(speech):
    silence = np.zeros_like(speech)
    assert np.array_equal(add_noise(speech, silence, 5.0), speech)
    assert not add_noise(silence, speech, 5.0).any()


@pytest.mark.parametrize("before", [0, 37, 4_000])
def test_the_direct_sound_stays_where_it_was_and_the_length_too(speech, before):
    """An impulse response with silence before its direct sound moves nothing."""
    generator = np.random.default_rng(1)
    tail = generator.normal(size=6_000) * 10 ** (-3 * np.arange(6_000) / 5_000)
    response = np.concatenate([np.zeros(before), [3.0], 0.05 * tail]).astype(np.float32)
    heard = reverberate(speech, response)
    assert len(heard) == len(speech)
    lags = range(-200, 201)
    inner = slice(5_000, len(speech) - 5_000)
    likeness = [float(np.dot(speech[inner], np.roll(heard, -lag)[inner])) for lag in lags]
    assert lags[int(np.argmax(likeness))] == 0


def test_a_response_of_one_sample_changes_nothing_and_its_scale_does_not_matter(speech):
    for response in ([1.0], [0.0, 0.0, 40.0], [1e-4, 0.0]):
        heard = reverberate(speech, np.array(response, np.float32))
        assert np.allclose(heard, speech, atol=1e-6)


def test_a_response_has_an_energy_of_one():
    impulse = np.zeros(20_000, np.float32)
    impulse[0] = 1.0
    response = np.random.default_rng(2).normal(size=8_000).astype(np.float32)
    response[0] = 9.0
    assert np.sum(reverberate(impulse, response) ** 2) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("codec", CODECS)
def test_a_telephone_leaves_nothing_above_4_khz_and_the_length(speech, codec):
    loud_above = speech + 0.1 * np.sin(2 * np.pi * 6_000 * np.arange(len(speech)) / RATE)
    heard = over_telephone(loud_above.astype(np.float32), RATE, codec)
    assert len(heard) == len(speech)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    above = np.fft.rfftfreq(len(heard), 1 / RATE) > 4_000
    assert decibels(spectrum[above].sum() / spectrum.sum()) < -55
    # It is still this sentence, and at the same place.
    line = over_telephone(speech, RATE, "mulaw")
    assert np.corrcoef(heard, line)[0, 1] > 0.9


def test_codecs_differ_and_gsm_loses_most(speech):
    heard = {codec: over_telephone(speech, RATE, codec) for codec in CODECS}
    assert len(CODECS) == 3
    lost = {codec: power(heard[codec] - heard["mulaw"]) for codec in ("alaw", "gsm")}
    assert 0 < lost["alaw"] < lost["gsm"]


@pytest.mark.parametrize("num_samples", [1, 2, 333])
def test_the_shortest_recordings_are_survived(num_samples):
    samples = np.full(num_samples, 0.1, np.float32)
    assert len(over_telephone(samples, RATE, "gsm")) == num_samples
    assert len(reverberate(samples, np.ones(3, np.float32))) == num_samples
    assert len(add_noise(samples, samples, 3.0)) == num_samples
