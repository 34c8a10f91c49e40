"""Any file becomes mono samples at 16 kHz, or a reason why not."""

from __future__ import annotations

import builtins
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio.sounds import encoded, muxed, speech_like
from hypothesis import given, settings
from hypothesis import strategies as st

from tpactl.audio import torchaudio
from tpactl.audio.decode import BadAudioError, MissingDecoderError, decode
from tpactl.audio.resample import resample
from tpactl.audio.write import digest_samples, to_int16, write_flac
from tpactl.errors import InputError, MachineError


def test_channels_are_averaged_and_the_source_is_told(tmp_path):
    left, right = speech_like(seed=1), speech_like(seed=2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right, left], 1), 16_000, subtype="FLOAT")
    decoded = decode(tmp_path / "a.wav")
    assert (decoded.channels, decoded.source_rate, decoded.samples.dtype) == (3, 16_000, np.float32)
    np.testing.assert_allclose(decoded.samples, (2 * left + right) / 3, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_pitch_and_duration_at_any_rate(tmp_path, rate):
    times = np.arange(rate) / rate
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * times), rate)
    decoded = decode(tmp_path / "tone.wav")
    assert decoded.duration_s == pytest.approx(1.0, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(decoded.samples))
    assert np.argmax(spectrum) * 16_000 / len(decoded.samples) == pytest.approx(1000, abs=1.1)


@given(
    length=st.integers(1, 30_000),
    rates=st.tuples(*[st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000])] * 2),
)
@settings(max_examples=40, deadline=None)
def test_resampling_keeps_the_duration(length, rates):
    before, after = rates
    made = resample(np.zeros(length, np.float32), before, after)
    assert abs(len(made) / after - length / before) <= 1 / min(before, after)


def test_resampling_is_as_torchaudio_does_it():
    if not torchaudio.available()[0]:
        pytest.skip("torchaudio does not load beside this torch")
    samples = speech_like(rate=48_000)
    ours = resample(samples, 48_000, 16_000)
    theirs = resample(samples, 48_000, 16_000, engine="torchaudio")
    assert np.abs(ours - theirs)[200:-200].max() < 0.02


def test_a_torchaudio_that_does_not_load_is_told_not_raised():
    loads, said = torchaudio.available()
    assert said
    if not loads:
        with pytest.raises(MachineError, match="torchaudio"):
            resample(speech_like(), 16_000, 8_000, engine="torchaudio")


def test_16_bit_at_16_khz_passes_bit_for_bit(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    digest = write_flac(tmp_path / "a.flac", decode(tmp_path / "a.wav").samples)
    back, rate = soundfile.read(tmp_path / "a.flac", dtype="int16")
    assert rate == 16_000
    np.testing.assert_array_equal(back, samples)
    assert digest == digest_samples(samples) == digest_samples(decode(tmp_path / "a.flac").samples)


def test_what_is_over_full_scale_is_clipped_not_wrapped():
    np.testing.assert_array_equal(
        to_int16(np.array([1.0, 1.7, -1.0, -3.0, 0.5], np.float32)),
        [32767, 32767, -32768, -32768, 16384],
    )


def test_the_flac_bytes_depend_on_the_samples_only(tmp_path):
    write_flac(tmp_path / "a.flac", speech_like())
    write_flac(tmp_path / "b.flac", speech_like())
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()


BAD = {
    "empty file": (b"", "empty"),
    "text": (b"hello, I am no audio at all\n" * 20, "not an audio file"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), "not an audio file"),
    "zip": (b"PK\x03\x04" + bytes(200), "not an audio file"),
    "only a header": (encoded("WAV")[:44], "truncated"),
    "no samples": (encoded("WAV", seconds=0), "no audio"),
    "flac noise": (b"fLaC" + bytes(range(200)), "truncated"),
    "ogg noise": (b"OggS" + bytes(range(200)), "truncated"),
    "riff noise": (b"RIFF\x10\x00\x00\x00WAVEfmt ", "truncated"),
}


@pytest.mark.parametrize("what", BAD)
def test_content_that_is_no_whole_audio_has_a_reason(tmp_path, what):
    content, reason = BAD[what]
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        decode(path)
    assert reason in caught.value.problem
    assert str(path) in caught.value.problem


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, value):
    samples = speech_like()
    samples[777] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(BadAudioError, match="finite"):
        decode(tmp_path / "a.wav")


def test_floats_in_another_unit_are_not_squashed(tmp_path):
    soundfile.write(tmp_path / "a.wav", speech_like() * 32768, 16_000, subtype="FLOAT")
    with pytest.raises(BadAudioError, match="full scale is 1"):
        decode(tmp_path / "a.wav")


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path):
    with pytest.raises(BadAudioError, match="is no file"):
        decode(tmp_path)
    with pytest.raises(BadAudioError, match="no such file"):
        decode(tmp_path / "gone.wav")
    import os

    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(BadAudioError, match="is no file"):
        decode(tmp_path / "pipe.wav")


@given(flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3", "OGG", "AIFF", "CAF"])
def test_a_damaged_header_never_escapes_as_another_error(tmp_path_factory, form, flips):
    content = bytearray(encoded(form, seconds=0.3))
    for at, value in flips:
        content[at % len(content)] = value
    path = tmp_path_factory.getbasetemp() / f"damaged-{form}"
    path.write_bytes(content)
    try:
        decoded = decode(path)
    except (InputError, MachineError):
        return
    assert np.isfinite(decoded.samples).all()


def test_without_pyav_and_ffmpeg_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "voice.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingDecoderError) as caught:
        decode(path)
    assert caught.value.exit_code == 6
    assert "pip install 'tpactl[av]'" in caught.value.fix


def test_a_playlist_in_disguise_opens_nothing(tmp_path):
    pytest.importorskip("av")
    muxed(tmp_path / "secret.m4a", "aac", 16_000)
    path = tmp_path / "list.aac"
    path.write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.m4a\n")
    with pytest.raises(BadAudioError):
        decode(path)


def test_a_video_without_sound_says_so(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    with pytest.raises(BadAudioError, match="no audio track"):
        decode(tmp_path / "mute.mp4")


def test_decoding_imports_no_torch():
    script = (
        "import sys, tpactl.audio.decode, tpactl.audio.torchaudio; print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_foreign_decoders_are_imported_only_when_needed(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **named):
        assert name != "av"
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    (tmp_path / "a.wav").write_bytes(encoded("WAV"))
    assert decode(tmp_path / "a.wav").duration_s == 1.0


def test_noise_named_mp3_is_refused_without_a_word_on_stderr(tmp_path, capfd):
    path = tmp_path / "noise.mp3"
    path.write_bytes(np.random.default_rng(0).bytes(5_000))
    with pytest.raises(BadAudioError, match="not an audio file"):
        decode(path)
    assert capfd.readouterr().err == ""


def test_a_name_that_is_no_utf_8_is_read_like_any_other(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    try:
        soundfile.write(tmp_path / "a.wav", speech_like(0.5, 16_000, 1), 16_000)
        (tmp_path / "a.wav").rename(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    assert decode(path).duration_s == 0.5
