import numpy as np
import pytest

from tpactl.eval.snr import HIGHEST_DB, LOWEST_DB, estimate_snr_db
from tpactl.eval.stress import (
    NOISE_DB,
    RT60_S,
    SPEEDS,
    disturbances,
    faster,
    in_room,
    noisy,
    over_telephone,
)

RATE = 16_000


def generator():
    return np.random.default_rng(0)


def tone(hz: float, seconds: float = 1.0, level: float = 0.3):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def speech_like(seconds: float = 8.0, seed: int = 1):
    """Amplitudes distributed as clean speech's (gamma, shape 0.4)."""
    draw = np.random.default_rng(seed)
    size = int(seconds * RATE)
    return (0.05 * draw.gamma(0.4, size=size) * draw.choice([-1, 1], size)).astype(np.float32)


def test_the_course_is_fixed_and_its_names_differ():
    course = disturbances()
    assert [(d.kind, d.level) for d in course] == [
        *(("noise", db) for db in NOISE_DB),
        *(("reverberation", rt60) for rt60 in RT60_S),
        ("telephone", None),
        *(("speed", factor) for factor in SPEEDS),
    ]
    assert len({d.label for d in course}) == len(course) == 9


@pytest.mark.parametrize("disturbance", disturbances(), ids=lambda d: d.label)
def test_the_same_utterance_is_always_disturbed_alike(disturbance):
    wave = tone(440)
    first, again = disturbance(wave, "utt-1"), disturbance(wave, "utt-1")
    assert first.dtype == np.float32
    assert np.array_equal(first, again)
    assert not np.array_equal(first[: len(wave)], wave[: len(first)])
    assert np.abs(first).max() <= 1
    if disturbance.kind in ("noise", "reverberation"):
        assert not np.array_equal(first, disturbance(wave, "utt-2"))


@pytest.mark.parametrize("disturbance", disturbances(), ids=lambda d: d.label)
def test_silence_and_full_scale_are_survived(disturbance):
    assert np.isfinite(disturbance(np.zeros(4_000, np.float32), "x")).all()
    assert np.abs(disturbance(np.ones(4_000, np.float32), "x")).max() <= 1


@pytest.mark.parametrize("snr_db", NOISE_DB)
def test_noise_has_the_level_it_says(snr_db):
    wave = tone(440)
    noise = noisy(snr_db, wave, generator()) - wave
    assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.05)


@pytest.mark.parametrize("rt60_s", RT60_S)
def test_a_room_decays_by_sixty_decibels_in_its_time(rt60_s):
    impulse = np.zeros(2 * RATE, np.float32)
    impulse[0] = 1.0
    response = in_room(rt60_s, impulse, generator()).astype(np.float64)
    # Schroeder 1965: the energy still to come falls along a line, here from -5 to -25 dB.
    tail = response[RATE // 200 : int(rt60_s * RATE)] ** 2
    left = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum())
    start, end = np.argmax(left < -5), np.argmax(left < -25)
    assert (end - start) / RATE * 3 == pytest.approx(rt60_s, rel=0.1)


def test_a_telephone_passes_its_band_only():
    def passed(hz):
        heard = over_telephone(tone(hz), generator())[2_000:-2_000]
        return 20 * np.log10(np.sqrt(np.mean(heard**2)) / (0.3 / np.sqrt(2)) + 1e-9)

    assert passed(1_000) == pytest.approx(0, abs=0.5)
    assert passed(100) < -30
    assert passed(5_000) < -30


def test_a_telephone_has_eight_bits():
    heard = over_telephone(tone(1_013), generator())[2_000:-2_000]
    error = heard - tone(1_013)[2_000:-2_000]
    # G.711 has about 38 dB of signal to quantisation noise.
    assert 30 < 10 * np.log10(0.045 / np.mean(error**2)) < 45


@pytest.mark.parametrize("factor", SPEEDS)
def test_speed_changes_length_and_pitch(factor):
    heard = faster(factor, tone(1_000), generator())
    assert len(heard) == pytest.approx(RATE / factor, abs=2)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * RATE / len(heard) == pytest.approx(1_000 * factor, abs=2)


# The estimate of the signal-to-noise ratio


@pytest.mark.parametrize("snr_db", [-5, 0, 5, 10, 20, 30])
def test_the_estimate_finds_the_level_that_was_mixed(snr_db):
    wave = speech_like()
    noise = np.random.default_rng(2).normal(size=len(wave))
    noise *= np.sqrt(np.mean(wave**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    found = estimate_snr_db((wave + noise).astype(np.float32))
    assert found == pytest.approx(snr_db, abs=1.5)


def test_the_estimate_does_not_depend_on_the_level():
    wave = speech_like()
    assert estimate_snr_db(0.01 * wave) == pytest.approx(estimate_snr_db(wave), abs=0.01)


def test_the_estimate_of_no_sound_and_of_extremes():
    assert estimate_snr_db(np.zeros(100, np.float32)) is None
    assert estimate_snr_db(np.zeros(0, np.float32)) is None
    constant = np.full(100, 0.5, np.float32)
    assert LOWEST_DB <= estimate_snr_db(constant) <= HIGHEST_DB
    # What a gate made silent is no sign of a clean recording.
    noise = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    gated = np.concatenate([noise, np.zeros(160_000, np.float32)])
    assert estimate_snr_db(gated) == estimate_snr_db(noise) < 0
