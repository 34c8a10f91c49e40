"""A folder becomes a data set: forms, faults, wholeness, reuse."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio.sounds import encoded, speech_like
from prepare.folders import audiofolder, record, speakers

from tpactl.audio.write import digest_samples
from tpactl.errors import InputError, MachineError, UsageError
from tpactl.formats.dataset import SPLITS, DataSet, digest_of
from tpactl.prepare.prepare import prepare


def everything(folder: Path) -> dict[str, tuple[str, str, str | None]]:
    data = DataSet(folder)
    return {
        row.id: (split, row.text, row.speaker) for split in SPLITS for row in data.utterances(split)
    }


def faults(source: Path, out: Path, **options) -> dict[str, str]:
    """Both ways at once: the error's details are the card's skipped files."""
    with pytest.raises(InputError) as caught:
        prepare(source, out, **options)
    assert not out.exists()
    assert "--skip-bad" in caught.value.fix
    card = prepare(source, out, skip_bad=True, **options)
    found = {fault.file: fault.reason for fault in card.skipped}
    assert list(caught.value.details) == [f"{file}: {reason}" for file, reason in found.items()]
    return found


def test_what_is_written(tmp_path):
    source = audiofolder(
        tmp_path / "in",
        [
            {
                "file_name": f"{n}.wav",
                "transcription": f"  Number \t {n}, e\u0301 ",
                "speaker": f"s{n}",
                "age": n,
                "empty": "",
            }
            for n in range(30)
        ],
    )
    record(source / "0.wav", seconds=1.0, rate=44_100)
    card = prepare(source, tmp_path / "out")
    data = DataSet(tmp_path / "out")
    assert data.card == card
    assert (card.source_form, card.split_by, card.skipped, card.notes) == (
        "audiofolder",
        "speaker",
        [],
        [],
    )
    rows = [(split, row) for split in SPLITS for row in data.utterances(split)]
    assert len(rows) == 30
    assert digest_of(rows) == card.digest
    row = next(row for _, row in rows if row.id == "0")
    assert row.text == "Number 0, é"
    assert row.metadata == {"age": "0"}
    assert row.duration == pytest.approx(1.0, abs=1e-3)
    for split in SPLITS:
        summary = card.splits[split]
        mine = data.utterances(split)
        assert summary.utterances == len(mine) == summary.speakers
        assert summary.characters == sum(len(row.text) for row in mine)
        assert summary.duration_s == pytest.approx(sum(row.duration for row in mine), abs=1e-3)
        for row in mine:
            info = soundfile.info(data.audio_path(row))
            assert (info.samplerate, info.channels, info.format, info.subtype) == (
                16_000,
                1,
                "FLAC",
                "PCM_16",
            )
            samples, _ = soundfile.read(data.audio_path(row), dtype="int16")
            assert row.audio_digest == digest_samples(samples)
            assert not Path(row.audio_filepath).is_absolute()


@pytest.mark.parametrize("column", ["transcription", "text", "sentence", "transcript", "TEXT"])
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_usual_names_of_the_text_column(tmp_path, column, name):
    source = audiofolder(
        tmp_path / "in", [{"file_name": f"{n}.wav", column: f"t{n}"} for n in range(4)], name=name
    )
    prepare(source, tmp_path / "out")
    assert {text for _, text, _ in everything(tmp_path / "out").values()} == {
        "t0",
        "t1",
        "t2",
        "t3",
    }


@pytest.mark.parametrize("column", ["speaker", "speaker_id", "client_id"])
def test_usual_names_of_the_speaker_column(tmp_path, column):
    source = audiofolder(
        tmp_path / "in", [{"file_name": f"{n}.wav", "text": "t", column: f"s{n}"} for n in range(4)]
    )
    assert prepare(source, tmp_path / "out").split_by == "speaker"
    assert {speaker for *_, speaker in everything(tmp_path / "out").values()} == {
        "s0",
        "s1",
        "s2",
        "s3",
    }


def test_columns_of_other_names_can_be_named(tmp_path):
    source = audiofolder(
        tmp_path / "in",
        [
            {"file_name": f"{n}.wav", "said": f"t{n}", "text": "no", "who": f"s{n}"}
            for n in range(4)
        ],
    )
    prepare(source, tmp_path / "out", text_column="said", speaker_column="who")
    assert everything(tmp_path / "out")["1"][1:] == ("t1", "s1")
    with pytest.raises(InputError, match="looked for spoken; it has file_name, said, text, who"):
        prepare(source, tmp_path / "other", text_column="spoken")
    with pytest.raises(InputError, match="speaker: looked for nobody"):
        prepare(source, tmp_path / "other", speaker_column="nobody")


def test_pairs_in_nested_folders_with_any_suffix(tmp_path):
    for name in ("a.wav", "deep/er/b.WAV", "deep/c.flac", "d.mp3", "e.ogg"):
        record(tmp_path / "in" / name)
        (tmp_path / "in" / name).with_suffix(".txt").write_text(f"text of {name[:-4]}\n")
    (tmp_path / "in" / "README.txt").write_text("about")
    card = prepare(tmp_path / "in", tmp_path / "out")
    assert card.source_form == "pairs"
    assert set(everything(tmp_path / "out")) == {"a", "deep/er/b", "deep/c", "d", "e"}


def test_nemo_manifests_name_their_splits_and_segments(tmp_path):
    source = tmp_path / "in"
    record(source / "clips" / "long.wav", seconds=2.0)
    record(source / "clips" / "short.wav", seconds=0.5)
    (source / "train_manifest.json").write_text(
        json.dumps(
            {
                "audio_filepath": "clips/long.wav",
                "offset": 0.5,
                "duration": 0.75,
                "text": "middle",
                "speaker": "a",
                "lang": "en",
            }
        )
        + "\n"
        + json.dumps(
            {
                "audio_filepath": "clips/long.wav",
                "offset": 1.5,
                "duration": 0.5,
                "text": "end",
                "speaker": "a",
            }
        )
        + "\n"
    )
    (source / "validation.jsonl").write_text(
        json.dumps(
            {
                "audio_filepath": str(source / "clips" / "short.wav"),
                "duration": 0.51,
                "text": "short",
                "speaker": "b",
            }
        )
        + "\n"
    )
    card = prepare(source, tmp_path / "out")
    assert (card.source_form, card.split_by, list(card.splits)) == (
        "nemo",
        "source",
        ["train", "dev"],
    )
    data = DataSet(tmp_path / "out")
    middle, end = sorted(data.utterances("train"), key=lambda row: row.text, reverse=True)
    assert (middle.duration, end.duration, middle.metadata) == (0.75, 0.5, {"lang": "en"})
    whole, _ = soundfile.read(source / "clips" / "long.wav", dtype="int16")
    part, _ = soundfile.read(data.audio_path(middle), dtype="int16")
    np.testing.assert_array_equal(part, whole[8_000:20_000])
    assert middle.id != end.id


def test_one_manifest_is_a_source(tmp_path):
    record(tmp_path / "in" / "a.wav")
    record(tmp_path / "in" / "b.wav")
    manifest = tmp_path / "in" / "calls.jsonl"
    manifest.write_text(
        "".join(json.dumps({"audio_filepath": f"{n}.wav", "text": n}) + "\n" for n in "ab")
    )
    assert set(prepare(manifest, tmp_path / "out").splits) == {"train", "dev"}


def test_a_manifest_that_declares_more_than_the_file_holds(tmp_path):
    source = tmp_path / "in"
    for name in ("a", "b", "c"):
        record(source / f"{name}.wav", seconds=1.0)
    (source / "all.jsonl").write_text(
        "".join(
            json.dumps({"audio_filepath": f"{name}.wav", "text": "t", "duration": seconds}) + "\n"
            for name, seconds in (("a", 1.0), ("b", 1.5), ("c", 1.0))
        )
    )
    assert faults(source, tmp_path / "out") == {
        "b.wav": "truncated: the manifest declares 1.50 s, 1.00 s decode"
    }


def test_every_fault_is_listed_with_its_reason(tmp_path):
    source = speakers(tmp_path / "in", 6)
    rows = (source / "metadata.csv").read_text()
    (source / "cut.wav").write_bytes(encoded("WAV")[:9_000])
    (source / "cut.mp3").write_bytes(encoded("MP3", seconds=3)[:2_000])
    (source / "cut.opus").write_bytes(encoded("OGG", "OPUS", seconds=3)[:6_000])
    (source / "text.wav").write_text("no audio")
    (source / "empty.wav").write_bytes(b"")
    soundfile.write(source / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(source / "blip.wav", speech_like(0.05), 16_000)
    soundfile.write(source / "nan.wav", np.full(9_000, np.nan), 16_000, subtype="FLOAT")
    against = speech_like()
    soundfile.write(source / "phase.wav", np.stack([against, -against], 1), 16_000)
    record(source / "mute.wav")
    record(source / "unlisted.wav")
    bad = [
        "cut.wav",
        "cut.mp3",
        "cut.opus",
        "text.wav",
        "empty.wav",
        "silent.wav",
        "blip.wav",
        "nan.wav",
        "phase.wav",
    ]
    rows += "".join(f"{name},hello,x\n" for name in bad)
    rows += "mute.wav,  ,x\ngone.wav,hello,x\n,hello,x\na,b\n"
    (source / "metadata.csv").write_text(rows)
    found = faults(source, tmp_path / "out")
    expected = {
        "cut.wav": "truncated",
        "cut.mp3": "truncated",
        "cut.opus": "truncated",
        "text.wav": "not an audio file",
        "empty.wav": "empty",
        "silent.wav": "silent",
        "blip.wav": "0.050 s long",
        "nan.wav": "finite",
        "phase.wav": "silent",
        "mute.wav (metadata.csv line 23)": "transcript is empty",
        "metadata.csv line 24: gone.wav": "no such file",
        "metadata.csv line 25: ": "names no file",
        "metadata.csv line 26": "2 cells, the header has 3",
        "unlisted.wav": "no transcript",
    }
    assert found.keys() == expected.keys()
    for file, reason in expected.items():
        assert reason in found[file], file
    assert len(everything(tmp_path / "out")) == 12


def test_pairs_with_a_missing_half_or_a_bad_text(tmp_path):
    source = tmp_path / "in"
    for name in ("good", "fine", "alone", "blank", "latin"):
        record(source / f"{name}.wav")
    for name, content in {
        "good": b"hello",
        "fine": b"\xef\xbb\xbfhi",
        "blank": b" \n",
        "latin": "caf\u00e9".encode("latin-1"),
        "ghost": b"who",
    }.items():
        (source / f"{name}.txt").write_bytes(content)
    found = faults(source, tmp_path / "out")
    assert found.keys() == {"alone.wav", "blank.wav", "latin.txt", "ghost.txt"}
    assert "not UTF-8: byte 0xe9 in line 1" in found["latin.txt"]
    assert everything(tmp_path / "out")["fine"][1] == "hi"


def test_duplicates(tmp_path):
    source = speakers(tmp_path / "in", 4)
    with (source / "metadata.csv").open("a") as table:
        table.write("000-0.wav,take 0 of 0,spk0\n001-0.wav,another text,spk1\n002-0.flac,x,spk2\n")
    record(source / "002-0.flac")
    assert faults(source, tmp_path / "out") == {
        "000-0.wav (metadata.csv line 10)": "listed more than once",
        "001-0.wav (metadata.csv line 4)": "listed 2 times with different transcripts",
        "001-0.wav (metadata.csv line 11)": "listed 2 times with different transcripts",
    }
    rows = everything(tmp_path / "out")
    assert "001-0" not in rows
    assert rows["000-0"][1] == "take 0 of 0"
    assert {"002-0.wav", "002-0.flac"} <= rows.keys()


def test_two_files_of_one_id(tmp_path):
    source = audiofolder(
        tmp_path / "in",
        [{"file_name": f"{n}.wav", "text": "t", "id": f"call{n // 2}"} for n in range(4)],
    )
    found = faults(source, tmp_path / "out")
    assert found["1.wav (metadata.csv line 3)"] == (
        "the id 'call0' belongs to several files: 0.wav, 1.wav"
    )
    assert set(everything(tmp_path / "out")) == {"call0", "call1"}


def test_a_table_leads_to_no_file_outside_the_source(tmp_path):
    record(tmp_path / "secret.wav")
    source = speakers(tmp_path / "in", 3)
    (source / "link.wav").symlink_to(tmp_path / "secret.wav")
    (source / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    (source / "inner.wav").symlink_to(source / "000-0.wav")
    names = [
        "../secret.wav",
        str(tmp_path / "secret.wav"),
        "link.wav",
        "dangling.wav",
        "sub/../../secret.wav",
    ]
    with (source / "metadata.csv").open("a") as table:
        table.writelines(f"{name},hello,x\n" for name in names)
        table.write(f"inner.wav,hello,x\n{source / '000-1.wav'},take 1 of 0,spk0\n")
    found = faults(source, tmp_path / "out")
    assert sum(reason.startswith("lies outside") for reason in found.values()) == 3
    assert found["metadata.csv line 10: link.wav"].startswith("a link to a file outside")
    assert sum("leads nowhere" in reason for reason in found.values()) == 1
    assert sum("listed more than once" in reason for reason in found.values()) == 1
    assert "inner" in everything(tmp_path / "out")


def test_audio_root_allows_one_more_folder(tmp_path):
    for name in ("a", "b", "c"):
        record(tmp_path / "audio" / f"{name}.wav")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "all.jsonl").write_text(
        json.dumps({"audio_filepath": str(tmp_path / "audio" / "a.wav"), "text": "a"})
        + "\n"
        + json.dumps({"audio_filepath": "b.wav", "text": "b"})
        + "\n"
        + json.dumps({"audio_filepath": "../audio/c.wav", "text": "c"})
        + "\n"
    )
    with pytest.raises(InputError, match="no usable") as caught:
        prepare(tmp_path / "in", tmp_path / "out")
    assert "--audio-root" in caught.value.details[0]
    prepare(tmp_path / "in", tmp_path / "out", audio_root=tmp_path / "audio")
    assert {text for _, text, _ in everything(tmp_path / "out").values()} == {"a", "b", "c"}


@pytest.mark.parametrize("on_disk", ["caf\u00e9.wav", "cafe\u0301.wav"])
@pytest.mark.parametrize("in_table", ["caf\u00e9.wav", "cafe\u0301.wav"])
def test_accents_composed_and_decomposed_are_the_same_name(tmp_path, on_disk, in_table):
    source = tmp_path / "in"
    record(source / on_disk)
    record(source / "\u65e5\u672c \u8a9e.wav")
    (source / "metadata.csv").write_text(
        f"file_name,text\n{in_table},one\n\u65e5\u672c \u8a9e.wav,two\n"
    )
    prepare(source, tmp_path / "out")
    rows = everything(tmp_path / "out")
    assert set(rows) == {"caf\u00e9", "\u65e5\u672c \u8a9e"}
    for split in SPLITS:
        for row in DataSet(tmp_path / "out").utterances(split):
            assert row.audio_filepath.isascii()


TABLES = {
    "utf-8 with mark": "\ufefffile_name,text\na.wav,h\u00e9\nb.wav,b\n".encode(),
    "utf-16": "file_name,text\na.wav,h\u00e9\nb.wav,b\n".encode("utf-16"),
    "dos lines": "file_name,text\r\na.wav,h\u00e9\r\nb.wav,b\r\n".encode(),
    "quotes": 'file_name,text\n"a.wav","h\u00e9"\n"b.wav","b"\n'.encode(),
    "semicolons": "file_name;text\na.wav;h\u00e9\nb.wav;b\n".encode(),
    "tabs": "file_name\ttext\na.wav\th\u00e9\nb.wav\tb\n".encode(),
    "blank lines": "\nfile_name,text\n\na.wav,h\u00e9\n,\nb.wav,b\n".encode(),
    "spaces in header": " file_name , Text \na.wav,h\u00e9\nb.wav,b\n".encode(),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_as_spreadsheets_write_them(tmp_path, kind):
    source = tmp_path / "in"
    record(source / "a.wav")
    record(source / "b.wav")
    (source / "metadata.csv").write_bytes(TABLES[kind])
    prepare(source, tmp_path / "out")
    assert {key: row[1] for key, row in everything(tmp_path / "out").items()} == {
        "a": "h\u00e9",
        "b": "b",
    }


def test_quoted_texts_keep_commas_quotes_and_lines(tmp_path):
    source = tmp_path / "in"
    record(source / "a.wav")
    record(source / "b.wav")
    (source / "metadata.csv").write_text('file_name,text\na.wav,"one, ""two""\nthree"\nb.wav,b\n')
    prepare(source, tmp_path / "out")
    assert everything(tmp_path / "out")["a"][1] == 'one, "two" three'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("file_name,text\na.wav,caf\u00e9\n".encode("latin-1"), "not UTF-8: byte 0xe9 in line 2"),
        (b"", "the file is empty"),
        (b"file_name,said\na.wav,x\n", "no column for the transcript"),
        (b"name,text\na.wav,x\n", "no column for the audio file"),
        (b"file_name,text,text\na.wav,x,y\n", "the column 'text' occurs twice"),
    ],
)
def test_tables_that_cannot_be_used_at_all(tmp_path, content, problem):
    record(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "metadata.csv").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        prepare(tmp_path / "in", tmp_path / "out", skip_bad=True)
    assert not (tmp_path / "out").exists()


def test_json_rows_that_are_none(tmp_path):
    source = tmp_path / "in"
    for name in "abcdef":
        record(source / f"{name}.wav")
    (source / "metadata.jsonl").write_text(
        '{"file_name": "a.wav", "text": "a"}\n{"file_name": "b.wav", "text": 7}\n'
        '{"file_name": "c.wav"}\n["d.wav"]\n{"file_name": "e.wav", "text": "\\ud800"}\n{oops\n'
        '{"file_name": "f.wav", "text": "f"}\n{"text": "none"}\n'
    )
    found = faults(source, tmp_path / "out")
    assert set(everything(tmp_path / "out")) == {"a", "f"}
    assert found["metadata.jsonl line 4"] == "not a JSON object"
    assert found["metadata.jsonl line 6"].startswith("not valid JSON")
    assert found["metadata.jsonl line 8"] == "names no audio file"
    assert "no text but 7" in found["b.wav (metadata.jsonl line 2)"]
    assert "looked for transcription" in found["c.wav (metadata.jsonl line 3)"]
    assert "Unicode" in found["e.wav (metadata.jsonl line 5)"]


def test_names_that_no_terminal_and_no_json_should_meet(tmp_path):
    source = speakers(tmp_path / "in", 4)
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.wav")).write_bytes(encoded("WAV"))
    record(source / "red\x1b[31m.wav")
    found = faults(source, tmp_path / "out")
    assert found.keys() == {"caf\ufffd.wav", "red\\x1b[31m.wav"}


def test_only_tables_and_folders_are_sources(tmp_path):
    with pytest.raises(InputError, match="neither a folder nor a table"):
        prepare(record(tmp_path / "a.wav"), tmp_path / "out")


def test_a_source_without_transcripts_says_what_was_looked_for(tmp_path):
    record(tmp_path / "in" / "a.wav")
    with pytest.raises(InputError, match=r"metadata.csv.*audio_filepath.*name.txt.*1 audio file"):
        prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder"):
        prepare(tmp_path / "gone", tmp_path / "out")


def test_two_tables_in_one_folder_are_refused(tmp_path):
    source = speakers(tmp_path / "in", 2)
    (source / "metadata.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"both metadata.csv and metadata.jsonl"):
        prepare(source, tmp_path / "out")


def test_a_prepared_data_set_is_recognised(tmp_path):
    prepare(speakers(tmp_path / "in", 4), tmp_path / "out")
    with pytest.raises(InputError, match="prepared already") as caught:
        prepare(tmp_path / "out", tmp_path / "again")
    assert "tpactl train --data" in caught.value.fix


def test_the_data_set_may_lie_inside_its_source(tmp_path):
    source = speakers(tmp_path / "in", 4)
    first = prepare(source, source / "data")
    second = prepare(source, source / "data", update=True)
    assert first.digest == second.digest
    assert first.splits == second.splits


def test_out_that_exists_is_left_alone(tmp_path):
    source = speakers(tmp_path / "in", 4)
    prepare(source, tmp_path / "out")
    before = (tmp_path / "out" / "dataset.json").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        prepare(source, tmp_path / "out")
    assert (tmp_path / "out" / "dataset.json").read_bytes() == before


def test_an_interrupt_leaves_nothing(tmp_path):
    source = speakers(tmp_path / "in", 10)

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "out", on_progress=interrupt, workers=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert threading.active_count() == before


def test_progress_counts_files(tmp_path):
    seen = []
    prepare(
        speakers(tmp_path / "in", 5), tmp_path / "out", on_progress=lambda *told: seen.append(told)
    )
    assert seen == [("reading audio", done, 10) for done in range(1, 11)]


def test_a_full_disk_is_the_machines_error(tmp_path, monkeypatch):
    import errno

    source = speakers(tmp_path / "in", 4)

    def full(self: Path, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MachineError, match="No space left"):
        prepare(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_only_missing_decoders_are_the_machines_error(tmp_path, monkeypatch):
    import shutil
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    source = tmp_path / "in"
    record(source / "a.wav")
    record(source / "b.wav")
    (source / "c.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    (source / "metadata.csv").write_text("file_name,text\na.wav,a\nb.wav,b\nc.m4a,c\n")
    with pytest.raises(MachineError, match="1 of 3 files need a decoder") as caught:
        prepare(source, tmp_path / "out")
    assert "tpactl[av]" in caught.value.fix
    (source / "b.wav").write_bytes(b"x")
    with pytest.raises(InputError, match="2 of 3 files are bad"):
        prepare(source, tmp_path / "out")


def test_the_result_does_not_depend_on_threads_or_the_order_of_rows(tmp_path):
    source = speakers(tmp_path / "in", 8)
    one = prepare(source, tmp_path / "one", workers=1)
    lines = (source / "metadata.csv").read_text().splitlines()
    (source / "metadata.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    many = prepare(source, tmp_path / "many", workers=8)
    assert one.digest == many.digest
    for name in ("train.jsonl", "dev.jsonl", "test.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


class TestUpdate:
    def test_unchanged_audio_is_not_decoded_again(self, tmp_path, monkeypatch):
        from tpactl.prepare import prepare as room

        source = speakers(tmp_path / "in", 8)
        first = prepare(source, tmp_path / "out")
        decoded = []
        real = room.decode
        monkeypatch.setattr(room, "decode", lambda path: decoded.append(path.name) or real(path))
        again = prepare(source, tmp_path / "out", update=True)
        assert decoded == []
        assert again.digest == first.digest
        record(source / "003-1.wav", seconds=0.4)
        changed = prepare(source, tmp_path / "out", update=True)
        assert decoded == ["003-1.wav"]
        assert changed.digest != first.digest

    def test_damaged_audio_of_the_old_data_set_is_decoded_again(self, tmp_path):
        source = speakers(tmp_path / "in", 8)
        first = prepare(source, tmp_path / "out")
        row = DataSet(tmp_path / "out").utterances("train")[0]
        damaged = DataSet(tmp_path / "out").audio_path(row)
        soundfile.write(damaged, speech_like(0.3, seed=5), 16_000)
        again = prepare(source, tmp_path / "out", update=True)
        assert again.digest == first.digest
        samples, _ = soundfile.read(damaged, dtype="int16")
        assert digest_samples(samples) == row.audio_digest

    def test_a_failed_update_leaves_the_old_data_set(self, tmp_path):
        source = speakers(tmp_path / "in", 8)
        prepare(source, tmp_path / "out")
        before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
        (source / "000-0.wav").write_text("ruined")
        with pytest.raises(InputError):
            prepare(source, tmp_path / "out", update=True)
        assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before

    def test_what_is_no_data_set_is_not_replaced(self, tmp_path):
        source = speakers(tmp_path / "in", 8)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("years of work")
        with pytest.raises(InputError, match="no prepared data set"):
            prepare(source, tmp_path / "out", update=True)
        assert (tmp_path / "out" / "thesis.tex").exists()

    def test_new_texts_are_taken_though_the_audio_is_reused(self, tmp_path):
        source = speakers(tmp_path / "in", 8)
        prepare(source, tmp_path / "out")
        table = source / "metadata.csv"
        table.write_text(table.read_text().replace("take 1 of 3", "corrected"))
        prepare(source, tmp_path / "out", update=True)
        assert everything(tmp_path / "out")["003-1"][1] == "corrected"


@pytest.mark.parametrize(
    "options",
    [{"dev_fraction": -0.1}, {"test_fraction": 1.0}, {"dev_fraction": 0.6, "test_fraction": 0.4}],
)
def test_impossible_fractions_are_usage_errors(tmp_path, options):
    with pytest.raises(UsageError):
        prepare(speakers(tmp_path / "in", 2), tmp_path / "out", **options)


def test_control_characters_never_enter_a_data_set(tmp_path):
    source = audiofolder(
        tmp_path / "in",
        [
            {"file_name": "a.wav", "transcription": "\0"},
            {"file_name": "b.wav", "transcription": "red \x1b[31m text"},
            {"file_name": "c.wav", "transcription": "fine", "id": "c\x07"},
            *({"file_name": f"{n}.wav", "transcription": f"number {n}"} for n in range(4)),
        ],
        name="metadata.jsonl",
    )
    found = faults(source, tmp_path / "out")
    assert sorted(reason for reason in found.values()) == [
        "holds a control character (U+0000)",
        "holds a control character (U+0007)",
        "holds a control character (U+001B)",
    ]


def test_a_quotation_mark_that_is_never_closed_swallows_no_rows(tmp_path):
    source = tmp_path / "in"
    for n in range(6):
        record(source / f"{n}.wav")
    lines = [f"{n}.wav,number {n}" for n in range(6)]
    lines[1] = '1.wav,"number 1'
    (source / "metadata.csv").write_text("\n".join(["file_name,transcription", *lines]) + "\n")
    found = faults(source, tmp_path / "out")
    assert any("quotation mark" in reason for reason in found.values())
    assert {
        row.text for split in SPLITS for row in DataSet(tmp_path / "out").utterances(split)
    } == {"number 0"}


def test_an_unusable_file_that_a_row_names_is_listed_once(tmp_path):
    source = audiofolder(
        tmp_path / "in",
        [{"file_name": f"{n}.wav", "transcription": f"number {n}"} for n in range(5)],
    )
    (source / "0.wav").unlink()
    (source / "0.wav").symlink_to(tmp_path / "nowhere.wav")
    found = faults(source, tmp_path / "out")
    assert list(found.values()) == ["a link that leads nowhere"]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_is_one_fault_that_says_what_it_is(tmp_path, indent):
    source = audiofolder(tmp_path / "in", [{"file_name": "a.wav", "text": "a"}])
    (source / "metadata.csv").unlink()
    rows = [{"file_name": "a.wav", "text": "a"}]
    (source / "metadata.jsonl").write_text("\n" + json.dumps(rows, indent=indent))
    with pytest.raises(InputError, match=r"metadata\.jsonl: a JSON array; JSON lines") as caught:
        prepare(source, tmp_path / "out")
    assert caught.value.details == ()


def test_json_objects_over_many_lines_are_one_fault(tmp_path):
    source = audiofolder(tmp_path / "in", [{"file_name": "a.wav", "text": "a"}])
    (source / "metadata.csv").unlink()
    row = {"file_name": "a.wav", "text": "a"}
    (source / "metadata.jsonl").write_text(2 * json.dumps(row, indent=2))
    with pytest.raises(InputError, match="JSON over many lines"):
        prepare(source, tmp_path / "out")
