"""Dev in two halves that share no speaker."""

from __future__ import annotations

import shutil

import pytest
from msgspec.structs import replace

from tpactl.errors import InputError
from tpactl.flows.search.speakers import part, write_parted
from tpactl.formats.dataset import SPLITS, DataSet, digest_of
from tpactl.formats.files import write_json, write_jsonl
from tpactl.train.reading import check_data


@pytest.fixture
def data(accent, tmp_path):
    """A copy of a data set, to be changed."""
    return DataSet(shutil.copytree(accent, tmp_path / "data"))


def with_dev(data, rows):
    splits = {split: data.utterances(split) for split in SPLITS} | {"dev": rows}
    write_jsonl(data.folder / "dev.jsonl", rows)
    digest = digest_of((split, row) for split, mine in splits.items() for row in mine)
    write_json(data.folder / "dataset.json", replace(data.card, digest=digest))
    return DataSet(data.folder)


def test_the_halves_are_all_of_dev_and_share_no_speaker(data):
    parted = part(data)
    rows = data.utterances("dev")
    assert sorted(r.id for r in parted.steering + parted.confirming) == sorted(r.id for r in rows)
    steering, confirming = parted.names(parted.steering), parted.names(parted.confirming)
    assert steering
    assert confirming
    assert not set(steering) & set(confirming)
    assert set(steering + confirming) == {row.speaker for row in rows}


def test_the_order_of_the_manifest_changes_nothing(data):
    before = part(data)
    after = part(with_dev(data, data.utterances("dev")[::-1]))
    assert after.names(after.steering) == before.names(before.steering)


def test_halves_of_many_speakers_are_about_as_long(data):
    rows = data.utterances("dev")
    named = [replace(row, speaker=f"s{n}", duration=1.0 + n) for n, row in enumerate(rows)]
    parted = part(with_dev(data, named))
    lengths = [sum(r.duration for r in half) for half in (parted.steering, parted.confirming)]
    assert abs(lengths[0] - lengths[1]) <= 1.0


@pytest.mark.parametrize("speaker", ["one", None])
def test_without_two_speakers_utterances_are_parted(data, speaker):
    rows = [replace(row, speaker=speaker) for row in data.utterances("dev")]
    parted = part(with_dev(data, rows))
    assert parted.unit == "utterance"
    assert len(parted.steering) == len(parted.confirming) == len(rows) // 2


def test_one_utterance_is_too_few(data):
    with pytest.raises(InputError, match="its dev split has 1 utterances"):
        part(with_dev(data, data.utterances("dev")[:1]))


def test_what_is_written_is_a_data_set_whose_audio_is_the_sources(data, tmp_path):
    folder = tmp_path / "deep" / "search" / "data"
    write_parted(data, part(data), folder)
    made = DataSet(folder)
    check_data(made)
    assert made.utterances("train") != []
    for split in SPLITS:
        for row in made.utterances(split):
            assert made.audio_path(row).resolve().parent == (data.folder / "audio").resolve()
            assert made.audio_path(row).is_file()


def test_the_test_split_is_not_touched(data, tmp_path):
    tested = [replace(row, id=f"test-{row.id}", speaker="t") for row in data.utterances("dev")]
    write_jsonl(data.folder / "test.jsonl", tested)
    write_parted(data, part(data), tmp_path / "made")
    ids = {row.id for split in SPLITS for row in DataSet(tmp_path / "made").utterances(split)}
    assert not ids & {row.id for row in tested}
