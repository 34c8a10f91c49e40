"""A file that holds less audio than it declares is refused, whatever its format."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile
from audio.sounds import encoded, muxed, speech_like

from tpactl.audio.declared import shortfall_of
from tpactl.audio.decode import BadAudioError, decode

CUTS = (0.03, 0.3, 0.77, 0.99)

# libsndfile writes these but cannot read them back itself, or they declare no length at all.
_NOT_READABLE = {"RAW", "SD2"}
_DECLARE_NOTHING = {"IRCAM", "PAF", "PVF", "XI"}
_DECLARE_NOTHING_SUBTYPES = {("VOC", "PCM_U8"), ("SDS", "PCM_S8")}


def _all_formats() -> list[tuple[str, str]]:
    return [
        (form, subtype)
        for form in soundfile.available_formats()
        if form not in _NOT_READABLE | _DECLARE_NOTHING
        for subtype in soundfile.available_subtypes(form)
        if soundfile.check_format(form, subtype)
        and not subtype.startswith("DWVW")
        and (form, subtype) not in _DECLARE_NOTHING_SUBTYPES
    ]


def test_every_format_that_matters_is_tried():
    forms = {form for form, _ in _all_formats()}
    assert {
        "WAV",
        "WAVEX",
        "RF64",
        "W64",
        "AIFF",
        "AU",
        "CAF",
        "NIST",
        "FLAC",
        "MP3",
        "OGG",
    } <= forms
    assert len(_all_formats()) > 80


@pytest.mark.parametrize(("form", "subtype"), _all_formats())
def test_whole_is_read_and_cut_is_refused(tmp_path, form, subtype):
    try:
        whole = encoded(form, subtype, rate=8_000 if form == "WVE" else 16_000)
    except soundfile.LibsndfileError:
        pytest.skip("this libsndfile does not write it")
    path = tmp_path / "recording"
    path.write_bytes(whole)
    assert decode(path).duration_s == pytest.approx(1.0, abs=0.04)
    for cut in CUTS:
        path.write_bytes(whole[: int(len(whole) * cut)])
        with pytest.raises(BadAudioError) as caught:
            decode(path)
        assert "@ 0x" not in caught.value.problem  # an address in ffmpeg's memory


@pytest.mark.parametrize("missing", [1, 2, 3, 400])
@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "W64", "RF64", "FLAC", "MP3", "OGG"])
def test_a_few_missing_bytes_are_noticed(tmp_path, form, missing):
    path = tmp_path / "recording"
    path.write_bytes(encoded(form)[:-missing])
    with pytest.raises(BadAudioError):
        decode(path)


def test_the_reason_names_both_lengths(tmp_path):
    path = tmp_path / "cut.wav"
    path.write_bytes(encoded("WAV")[:20_044])
    with pytest.raises(
        BadAudioError, match="declares 32,000 bytes of audio, the file holds 20,000"
    ):
        decode(path)


@pytest.mark.parametrize("cut", CUTS)
def test_opus_in_ogg(tmp_path, cut):
    whole = encoded("OGG", "OPUS", seconds=3)
    path = tmp_path / "note.opus"
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(BadAudioError, match="truncated"):
        decode(path)


def test_ogg_cut_between_two_pages_lacks_its_end_mark():
    whole = encoded("OGG", "OPUS", seconds=5)
    last_page = whole.rindex(b"OggS")
    assert whole.count(b"OggS") > 3
    assert "no end mark" in str(shortfall_of(whole[:last_page]))


def test_ogg_with_a_page_lost_in_the_middle():
    whole = encoded("OGG", "VORBIS", seconds=5)
    pages = [index for index in range(len(whole)) if whole[index : index + 4] == b"OggS"]
    lost = whole[: pages[3]] + whole[pages[4] :]
    assert "missing" in str(shortfall_of(lost))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("at", [0.1, 0.2, 0.5, 0.8, 0.99])
def test_a_damaged_ogg_page_is_noticed_though_decoders_skip_it(tmp_path, subtype, at):
    content = bytearray(encoded("OGG", subtype, seconds=5))
    content[int(len(content) * at)] ^= 0xFF
    path = tmp_path / "damaged.ogg"
    path.write_bytes(content)
    with pytest.raises(BadAudioError, match=r"damaged|truncated"):
        decode(path)


def test_a_decoder_that_gives_less_than_declared_is_not_believed(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(encoded("WAV"))
    real = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda *given, **named: real(*given, **named)[:-9]
    )
    with pytest.raises(BadAudioError, match=r"declares 1\.00 s"):
        decode(path)


def test_bytes_after_an_ogg_stream_do_no_harm():
    assert shortfall_of(encoded("OGG") + b"TAG" + bytes(125)) is None


def _wav(data: bytes, riff_size: int, data_size: int, after: bytes = b"") -> bytes:
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", riff_size, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16
    )
    return head + b"data" + struct.pack("<I", data_size) + data + after


@pytest.mark.parametrize(
    ("riff_size", "data_size"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF - 36),
        (0x7FFFF024, 0x7FFFF000),
        (0x80000024, 0x80000000),
        (0, 0),
        (36, 0),
        (0xFFFFFFFF, 0),
    ],
)
def test_a_streamed_wav_of_unknown_length_is_read_to_its_end(tmp_path, riff_size, data_size):
    path = tmp_path / "streamed.wav"
    path.write_bytes(_wav((speech_like() * 32767).astype("<i2").tobytes(), riff_size, data_size))
    assert decode(path).duration_s == 1.0


def test_a_wav_that_says_it_is_empty_is_empty(tmp_path):
    after = b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
    path = tmp_path / "empty.wav"
    path.write_bytes(_wav(b"", 36 + len(after), 0, after))
    with pytest.raises(BadAudioError, match="no audio"):
        decode(path)


@pytest.mark.parametrize("size", [0x7FFFFFF0, 0xFFFFFF00])
def test_a_huge_declared_size_is_a_truncated_file_not_much_memory(tmp_path, size):
    path = tmp_path / "huge.wav"
    path.write_bytes(_wav(bytes(3200), 0x7FFFFFF0 + 36, size))
    with pytest.raises(BadAudioError, match="truncated"):
        decode(path)


def test_a_flac_that_declares_years_is_refused_without_allocating(tmp_path):
    content = bytearray(encoded("FLAC"))
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xf0"
    path = tmp_path / "years.flac"
    path.write_bytes(content)
    with pytest.raises(BadAudioError, match="hours"):
        decode(path)


def test_chunks_after_the_audio_may_be_cut():
    whole = _wav(bytes(3200), 36 + 3200 + 16, 3200, b"LIST" + struct.pack("<I", 8) + b"IN")
    assert shortfall_of(whole) is None


def _mpeg_frames(count: int) -> bytes:
    """MPEG-1 layer III, 128 kbit/s, 44.1 kHz, mono: 417 bytes a frame, silence inside."""
    return (b"\xff\xfb\x90\xc0" + bytes(413)) * count


def test_mp3_without_a_length_is_whole_when_its_last_frame_is():
    assert shortfall_of(_mpeg_frames(20)) is None
    assert "last MPEG frame" in str(shortfall_of(_mpeg_frames(20)[:-1]))


@pytest.mark.parametrize("frames_left", [1, 5, 18])
def test_mp3_with_a_xing_header_is_counted_though_cut_between_frames(frames_left):
    first = bytearray(_mpeg_frames(1))
    first[21:37] = b"Xing" + struct.pack(">III", 1, 20, 0)
    assert shortfall_of(bytes(first) + _mpeg_frames(20)) is None
    assert "20 frames" in str(shortfall_of(bytes(first) + _mpeg_frames(frames_left)))


def test_mp3_tags_before_and_after_are_no_frames():
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)
    assert shortfall_of(tag + _mpeg_frames(4) + b"TAG" + bytes(125)) is None
    assert "last MPEG frame" in str(shortfall_of(tag + _mpeg_frames(4)[:-9]))


def test_noise_that_looks_like_a_frame_header_is_no_mp3():
    noise = np.random.default_rng(1).bytes(5000)
    assert shortfall_of(b"\xff\xfb\x90\xc0" + noise) is None


FOREIGN = [
    ("a.m4a", "aac", 16_000, {}),
    ("a.m4a", "aac", 44_100, {"movflags": "faststart"}),
    ("a.aac", "aac", 16_000, {"form": "adts"}),
    ("a.webm", "libopus", 48_000, {}),
    ("a.webm", "libopus", 48_000, {"form": "webm", "live": "1"}),
    ("a.wma", "wmav2", 44_100, {"form": "asf"}),
    ("a.mp3", "libmp3lame", 22_050, {}),
    ("a.mp3", "libmp3lame", 16_000, {"write_xing": "0"}),
    ("a.opus", "libopus", 48_000, {"form": "ogg"}),
]


@pytest.mark.parametrize(("name", "codec", "rate", "options"), FOREIGN)
@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
def test_files_of_other_encoders(tmp_path, monkeypatch, name, codec, rate, options, decoder):
    pytest.importorskip("av")
    path = tmp_path / name
    whole = muxed(path, codec, rate, seconds=2, **options)
    if decoder == "ffmpeg":
        import shutil
        import sys

        if shutil.which("ffmpeg") is None:
            pytest.skip("no ffmpeg program")
        monkeypatch.setitem(sys.modules, "av", None)
    assert decode(path).duration_s == pytest.approx(2.0, abs=0.15)  # AAC pads
    for cut in (0.3, 0.77, 0.98):
        path.write_bytes(whole[: int(len(whole) * cut)])
        with pytest.raises(BadAudioError) as caught:
            decode(path)
        assert "@ 0x" not in caught.value.problem  # an address in ffmpeg's memory
