"""Speech for the report's players: small, the same bytes each time, and still that speech."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from audio.sounds import speech_like

from tpactl.audio import ogg
from tpactl.audio.compress import compress
from tpactl.audio.decode import decode


def test_opus_is_a_tenth_of_wav_and_decodes_to_the_same_sound(tmp_path):
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(48_000) / 16_000)
    samples = speech_like(3.0) * syllables.astype(np.float32)
    made = compress(samples)
    assert made.media_type == "audio/ogg"
    assert len(made.content) < len(samples) * 2 / 10
    (tmp_path / "a.ogg").write_bytes(made.content)
    heard = decode(tmp_path / "a.ogg").samples
    assert len(heard) == len(samples)
    # Opus keeps what is heard, not the samples; the loudness over time must be the same.
    loudness = [np.sqrt(np.mean(s.reshape(-1, 800) ** 2, axis=1)) for s in (samples, heard)]
    assert np.corrcoef(*loudness)[0, 1] > 0.9


def test_equal_samples_give_equal_bytes_in_a_valid_stream():
    samples = speech_like(1.0)
    first, second = compress(samples), compress(samples)
    assert first == second
    assert ogg.shortfall(first.content) is None


def test_a_new_serial_number_changes_nothing_else():
    stream = compress(speech_like(1.0)).content
    other = ogg.with_serial(stream, 0xFFFFFFFF)
    assert ogg.shortfall(other) is None
    assert other != stream
    assert ogg.with_serial(other, 1) == stream


def test_flac_where_libsndfile_writes_no_opus(monkeypatch, tmp_path):
    monkeypatch.setattr(soundfile, "available_subtypes", lambda form: {"VORBIS": "Vorbis"})
    samples = speech_like(1.0)
    made = compress(samples)
    assert made.media_type == "audio/flac"
    (tmp_path / "a.flac").write_bytes(made.content)
    assert decode(tmp_path / "a.flac").samples == pytest.approx(samples, abs=1 / 32768)
