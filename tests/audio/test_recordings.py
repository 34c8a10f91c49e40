"""A folder of recordings is looked at whole and read by the excerpt."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from tests.audio.sounds import encoded
from tpactl.audio.decode import BadAudioError
from tpactl.audio.recordings import Recordings

RATE = 16_000
FORMATS = {
    "a.wav": ("WAV", "PCM_16"),
    "b.flac": ("FLAC", "PCM_16"),
    "c.ogg": ("OGG", "VORBIS"),
    "d.opus": ("OGG", "OPUS"),
    "e.mp3": ("MP3", "MPEG_LAYER_III"),
    "f.sph": ("NIST", "ULAW"),
    "g.aiff": ("AIFF", "PCM_16"),
    "h.au": ("AU", "ALAW"),
}


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_every_format_and_rate_is_read_and_heard_at_the_rate_asked_for(rate, tmp_path):
    for name, (form, subtype) in FORMATS.items():
        (tmp_path / name).write_bytes(encoded(form, subtype, rate=rate, seconds=2.0))
    found = Recordings(tmp_path)
    assert found.faults == []
    assert [file.path.name for file in found.files] == sorted(FORMATS)
    for file in found.files:
        assert file.duration_s == pytest.approx(2.0, abs=0.15)
        heard = file.excerpt(np.random.default_rng(0), RATE, RATE)
        assert heard.shape == (RATE,)
        # The tone of 220 Hz that it holds.
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(RATE)))
        assert np.argmax(spectrum) == pytest.approx(220, abs=2), file.path.name


@pytest.fixture
def ramp(tmp_path):
    """Ten minutes in which every second has a level of its own."""
    levels = np.repeat(np.arange(600) / 1_000, 8_000)
    soundfile.write(tmp_path / "ramp.flac", levels, 8_000)
    [found] = Recordings(tmp_path).files
    return found


def test_an_excerpt_is_one_stretch_that_the_generator_places(ramp):
    seen = []
    for seed in range(20):
        heard = ramp.excerpt(np.random.default_rng(seed), 3 * RATE, RATE)
        assert np.array_equal(heard, ramp.excerpt(np.random.default_rng(seed), 3 * RATE, RATE))
        within = heard[500:-500]
        assert within.max() - within.min() == pytest.approx(0.003, abs=1e-3)
        seen.append(float(heard.mean()))
    assert max(seen) - min(seen) > 0.3


def test_only_the_excerpt_is_read(ramp, monkeypatch):
    read = []
    original = soundfile.SoundFile.read

    def counted(self, frames=-1, **options):
        samples = original(self, frames, **options)
        read.append(len(samples))
        return samples

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    ramp.excerpt(np.random.default_rng(0), 3 * RATE, RATE)
    assert read == [3 * 8_000]


def test_a_short_recording_goes_round_from_a_place_of_its_own(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 1_000)
    soundfile.write(tmp_path / "short.wav", samples, RATE, subtype="FLOAT")
    [found] = Recordings(tmp_path).files
    heard = [found.excerpt(np.random.default_rng(seed), 2_500, RATE) for seed in range(2)]
    assert np.array_equal(heard[0][:1_000], heard[0][1_000:2_000])
    assert np.allclose(np.sort(heard[0][:1_000]), np.sort(samples), atol=1e-6)
    assert not np.array_equal(*heard)


def test_channels_are_averaged(tmp_path):
    both = np.stack([np.full(4_000, 0.4), np.full(4_000, -0.2)], axis=1)
    soundfile.write(tmp_path / "two.wav", both, RATE, subtype="FLOAT")
    [found] = Recordings(tmp_path).files
    assert np.allclose(found.excerpt(np.random.default_rng(0), 100, RATE), 0.1)


def test_a_file_that_went_away_or_was_cut_after_the_look_is_named(ramp):
    whole = ramp.path.read_bytes()
    ramp.path.write_bytes(whole[:200])
    with pytest.raises(BadAudioError, match=r"ramp\.flac: "):
        ramp.read(2_000_000, 1_000)
    ramp.path.unlink()
    with pytest.raises(BadAudioError, match=r"ramp\.flac: "):
        ramp.read()


def test_what_is_only_called_mp3_is_refused_in_silence(tmp_path, capfd):
    (tmp_path / "a.mp3").write_bytes(np.random.default_rng(0).bytes(20_000))
    assert Recordings(tmp_path).faults == [
        f"{tmp_path / 'a.mp3'}: is no MP3, whatever its name says"
    ]
    assert capfd.readouterr().err == ""


def test_hidden_files_and_a_folder_that_cannot_be_read(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded("WAV", "PCM_16"))
    (tmp_path / ".b.wav").write_text("no audio")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "c.wav").write_text("no audio")
    assert Recordings(tmp_path).faults == []
    (tmp_path / "d.wav").symlink_to(tmp_path / "gone")
    assert Recordings(tmp_path).faults == [f"{tmp_path / 'd.wav'}: is no file"]


def test_the_digest_follows_names_and_content_alone(tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        (folder / "in").mkdir(parents=True)
        (folder / "in" / "a.wav").write_bytes(encoded("WAV", "PCM_16"))
    (second / "notes.txt").write_text("no audio")
    told = []
    digest = Recordings(first).digest(lambda *step: told.append(step))
    assert digest == Recordings(second).digest()
    assert told == [("look through one", 1, 1)]
    content = bytearray((second / "in" / "a.wav").read_bytes())
    content[-1] ^= 1
    (second / "in" / "a.wav").write_bytes(content)
    assert Recordings(second).digest() != digest
    (first / "in" / "a.wav").rename(first / "in" / "b.wav")
    assert Recordings(first).digest() != digest
