"""Splits are disjoint by speaker, and growth moves nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepare.folders import audiofolder, record, speakers

from tpactl.errors import InputError
from tpactl.formats.dataset import SPLITS, DataSet
from tpactl.prepare import kept
from tpactl.prepare.prepare import prepare
from tpactl.prepare.source import Entry
from tpactl.prepare.splits import Group, SplitRule, assign, by_hash, place


def entries(names: list[str], each: int = 2) -> list[Entry]:
    return [
        Entry(
            id=f"{name}-{take}",
            path=Path(f"{name}-{take}.wav"),
            file=f"{name}-{take}.wav",
            text="t",
            key=f"{name}-{take}",
            speaker=name,
        )
        for name in names
        for take in range(each)
    ]


def splits_of(folder: Path) -> dict[str, str]:
    data = DataSet(folder)
    return {row.id: split for split in SPLITS for row in data.utterances(split)}


def test_the_rule_is_fixed_for_ever():
    """A change here moves utterances of every data set there is."""
    assert place(0, Group("speaker", "ann")) == 0.22093980749243441
    assert place(0, Group("speaker", "s30")) == 0.1378455569999635
    assert by_hash(SplitRule(), Group("speaker", "ann")) == "train"
    assert by_hash(SplitRule(), Group("speaker", "s30")) == "dev"
    assert by_hash(SplitRule(0.1, 0.2), Group("speaker", "s30")) == "test"
    assert place(0, Group("utterance", "ann")) != place(0, Group("speaker", "ann"))
    assert place(1, Group("speaker", "ann")) != place(0, Group("speaker", "ann"))


def test_shares_are_what_was_asked_for():
    made = assign(entries([f"s{n}" for n in range(4000)], each=1), SplitRule(0.2, 0.1))
    counts = [list(made.splits.values()).count(split) / 4000 for split in SPLITS]
    assert counts == pytest.approx([0.7, 0.2, 0.1], abs=0.03)


@given(
    names=st.lists(st.text("abcdefghij", min_size=1), min_size=1, max_size=40, unique=True),
    cut=st.integers(1, 39),
    seed=st.integers(0, 3),
    by=st.sampled_from(["auto", "speaker", "utterance"]),
)
@settings(max_examples=300, deadline=None)
def test_growth_moves_nobody_and_speakers_stay_together(names, cut, seed, by):
    rule = SplitRule(0.15, 0.15, by, seed)
    small = assign(entries(names[:cut]), rule)
    large = assign(entries(names), rule, small.to_keep)
    assert {key: large.splits[key] for key in small.splits} == small.splits
    if by == "speaker":
        for name in names:
            assert len({large.splits[f"{name}-0"], large.splits[f"{name}-1"]}) == 1


@given(names=st.lists(st.text("abcdefghij", min_size=1), min_size=3, max_size=9, unique=True))
@settings(max_examples=100, deadline=None)
def test_a_small_source_fills_all_three_splits(names):
    made = assign(entries(names), SplitRule(split_by="speaker"))
    assert set(made.splits.values()) == {"train", "dev", "test"}


def test_two_speakers_are_train_and_dev_and_one_is_divided_by_utterance():
    two = assign(entries(["a", "b"]), SplitRule())
    assert sorted(set(two.splits.values())) == ["dev", "train"]
    one = assign(entries(["a"], each=30), SplitRule())
    assert set(one.splits.values()) == {"train", "dev", "test"}
    assert one.split_by == "utterance"
    assert any("one speaker only" in note for note in one.notes)


def test_only_what_the_hash_cannot_tell_is_kept():
    many = assign(entries([f"s{n}" for n in range(200)]), SplitRule())
    assert many.to_keep == {}
    few = assign(entries(["a", "b", "c"]), SplitRule())
    assert len(few.to_keep) == 3


def test_the_source_remembers_a_small_beginning(tmp_path):
    """With any number of speakers at first, each later preparation keeps what was."""
    source, known = tmp_path / "in", {}
    for count in (1, 2, 3, 5, 9, 20):
        speakers(source, count, each=3)
        prepare(source, tmp_path / f"out{count}")
        now = splits_of(tmp_path / f"out{count}")
        assert {key: now[key] for key in known} == known
        known = now
    assert set(known.values()) == {"train", "dev", "test"}
    assert (source / kept.FILE_NAME).is_file()


def test_a_source_that_cannot_be_written_says_how_to_stay_stable(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "keep_in_source", lambda *given: False)
    source = speakers(tmp_path / "in", 3)
    card = prepare(source, tmp_path / "out")
    assert any("--update" in note for note in card.notes)
    before = splits_of(tmp_path / "out")
    speakers(source, 12)
    prepare(source, tmp_path / "out", update=True)
    after = splits_of(tmp_path / "out")
    assert {key: after[key] for key in before} == before
    assert len(after) == 24


def test_a_large_source_is_not_written_to(tmp_path):
    source = speakers(tmp_path / "in", 60, each=1)
    prepare(source, tmp_path / "out")
    assert not (source / kept.FILE_NAME).exists()


def test_a_user_may_place_a_speaker_by_hand(tmp_path):
    source = speakers(tmp_path / "in", 12)
    (source / kept.FILE_NAME).write_text("kind,name,split\nspeaker,spk3,test\nspeaker,spk4,dev\n")
    prepare(source, tmp_path / "out")
    found = splits_of(tmp_path / "out")
    assert (found["003-0"], found["004-1"]) == ("test", "dev")
    (source / kept.FILE_NAME).write_text("kind,name,split\nspeaker,spk3,exam\n")
    with pytest.raises(InputError, match=r"tpactl-splits.csv line 2: expected kind"):
        prepare(source, tmp_path / "other")


def test_another_seed_divides_anew(tmp_path):
    source = speakers(tmp_path / "in", 12)
    divisions = set()
    for seed in range(4):
        prepare(source, tmp_path / f"out{seed}", seed=seed)
        divisions.add(tuple(sorted(splits_of(tmp_path / f"out{seed}").items())))
    assert len(divisions) == 4


def test_a_converted_or_twin_file_keeps_its_split(tmp_path):
    source = audiofolder(
        tmp_path / "in", [{"file_name": f"{n}.wav", "text": "t"} for n in range(40)]
    )
    prepare(source, tmp_path / "wav")
    before = splits_of(tmp_path / "wav")
    with (source / "metadata.csv").open("a") as table:
        for n in range(40):
            record(source / f"{n}.flac")
            table.write(f"{n}.flac,t\n")
    prepare(source, tmp_path / "both")
    after = splits_of(tmp_path / "both")
    assert len(after) == 80
    for name, split in before.items():
        assert after[f"{name}.wav"] == after[f"{name}.flac"] == split


def test_speakers_in_an_audiofolder_are_never_torn_apart(tmp_path):
    prepare(speakers(tmp_path / "in", 40), tmp_path / "out")
    found = splits_of(tmp_path / "out")
    assert len(found) == 80
    assert all(found[f"{n:03d}-0"] == found[f"{n:03d}-1"] for n in range(40))


def test_unknown_speakers_are_placed_alone_and_mentioned(tmp_path):
    source = audiofolder(
        tmp_path / "in",
        [
            {"file_name": f"{n}.wav", "text": "t", "speaker": f"s{n % 5}" if n < 20 else ""}
            for n in range(30)
        ],
    )
    card = prepare(source, tmp_path / "out")
    assert any("without a speaker: 10" in note for note in card.notes)


def test_a_split_by_speaker_without_speakers_is_refused(tmp_path):
    source = audiofolder(
        tmp_path / "in", [{"file_name": f"{n}.wav", "text": "t"} for n in range(4)]
    )
    with pytest.raises(InputError, match="names none"):
        prepare(source, tmp_path / "out", split_by="speaker")
    assert prepare(source, tmp_path / "out").split_by == "utterance"


def ready_made(root: Path, **folders: int) -> Path:
    for number, (folder, count) in enumerate(folders.items()):
        speakers(root / folder, count, first=100 * number)
    return root


class TestReadyMade:
    @pytest.mark.parametrize("dev", ["dev", "valid", "validation", "val", "Dev"])
    def test_folders(self, tmp_path, dev):
        card = prepare(ready_made(tmp_path / "in", train=3, **{dev: 2}, test=2), tmp_path / "out")
        assert card.split_by == "source"
        assert {split: made.speakers for split, made in card.splits.items()} == {
            "train": 3,
            "dev": 2,
            "test": 2,
        }
        assert not list((tmp_path / "in").glob("*.csv"))

    def test_train_and_dev_stay_exactly_those(self, tmp_path):
        card = prepare(ready_made(tmp_path / "in", train=30, dev=2), tmp_path / "out")
        assert {split: made.utterances for split, made in card.splits.items()} == {
            "train": 60,
            "dev": 4,
        }

    def test_train_and_test_stay_exactly_those_and_dev_is_missed(self, tmp_path):
        source = ready_made(tmp_path / "in", train=30, test=2)
        card = prepare(source, tmp_path / "out")
        assert list(card.splits) == ["train", "test"]
        assert any("--dev-from train" in note for note in card.notes)
        card = prepare(source, tmp_path / "drawn", dev_from="train")
        assert list(card.splits) == ["train", "dev", "test"]
        assert card.splits["test"].speakers == 2

    def test_a_split_column(self, tmp_path):
        rows = [
            {"file_name": f"{n}.wav", "text": "t", "speaker": f"s{n}", "split": split}
            for n, split in enumerate(["train"] * 4 + ["validation"] * 2 + ["test"] + ["other"])
        ]
        card = prepare(audiofolder(tmp_path / "in", rows), tmp_path / "out")
        assert {split: made.utterances for split, made in card.splits.items()} == {
            "train": 4,
            "dev": 2,
            "test": 1,
        }
        assert any(note == "other: in no split, left out (1 utterances)" for note in card.notes)

    def test_only_train_is_no_division(self, tmp_path):
        card = prepare(ready_made(tmp_path / "in", train=30), tmp_path / "out")
        assert (card.split_by, set(card.splits)) == ("speaker", {"train", "dev", "test"})

    def test_only_test_stays_test(self, tmp_path):
        card = prepare(ready_made(tmp_path / "in", test=3), tmp_path / "out")
        assert list(card.splits) == ["test"]

    def test_the_sources_dev_as_the_held_out_test(self, tmp_path):
        source = ready_made(tmp_path / "in", train=30, dev=4, addresses=2)
        card = prepare(source, tmp_path / "out", test_from="dev")
        found = splits_of(tmp_path / "out")
        assert {key for key, split in found.items() if split == "test"} == {
            key for key in found if key.startswith("dev/")
        }
        assert {key.partition("/")[0] for key, split in found.items() if split != "test"} == {
            "train"
        }
        assert card.splits["dev"].speakers + card.splits["train"].speakers == 30
        assert card.split_by == "speaker"
        assert any(note.startswith("addresses: in no split") for note in card.notes)

    def test_any_folder_may_be_named(self, tmp_path):
        source = ready_made(tmp_path / "in", train=10, dev=2, addresses=3)
        card = prepare(source, tmp_path / "out", test_from="addresses", dev_from="dev")
        assert {split: made.speakers for split, made in card.splits.items()} == {
            "train": 10,
            "dev": 2,
            "test": 3,
        }
        with pytest.raises(InputError, match=r"--test-from exam: .* addresses, dev, train"):
            prepare(source, tmp_path / "other", test_from="exam")

    def test_all_from_one_folder(self, tmp_path):
        source = ready_made(tmp_path / "in", train=40, dev=4)
        card = prepare(source, tmp_path / "out", test_from="train", dev_from="dev")
        assert card.splits["dev"].speakers == 4
        assert card.splits["train"].speakers + card.splits["test"].speakers == 40

    def test_one_part_cannot_be_dev_and_test_at_once(self, tmp_path):
        source = ready_made(tmp_path / "in", train=3, dev=3)
        with pytest.raises(InputError, match="--dev-from and --test-from both name dev"):
            prepare(source, tmp_path / "out", test_from="dev", dev_from="dev")
        # Unless it is divided, train among the parts.
        card = prepare(
            ready_made(tmp_path / "large", train=3, dev=40), tmp_path / "out",
            test_from="dev", dev_from="dev", train_from="dev",
        )  # fmt: skip
        assert set(card.splits) == {"train", "dev", "test"}

    def test_a_shared_speaker_and_a_shared_recording_are_mentioned(self, tmp_path):
        source = ready_made(tmp_path / "in", train=3, dev=3)
        shutil.copy(source / "train" / "000-0.wav", source / "dev" / "000-0.wav")
        with (source / "dev" / "metadata.csv").open("a") as table:
            table.write("000-0.wav,take 0 of 0,spk0\n")
        notes = prepare(source, tmp_path / "out").notes
        assert any("speakers in more than one split: 1 (spk0)" in note for note in notes)
        assert any(note == "recordings in more than one split: 1" for note in notes)

    def test_growth_moves_nothing_where_dev_is_drawn(self, tmp_path):
        source = ready_made(tmp_path / "in", train=4, dev=2)
        prepare(source, tmp_path / "a", test_from="dev")
        before = splits_of(tmp_path / "a")
        speakers(source / "train", 30)
        prepare(source, tmp_path / "b", test_from="dev")
        after = splits_of(tmp_path / "b")
        assert {key: after[key] for key in before} == before


def test_nemo_names(tmp_path):
    source = tmp_path / "in"
    for name in ("train_manifest", "dev_manifest", "test_manifest"):
        record(source / f"{name}.wav")
        (source / f"{name}.json").write_text(
            json.dumps({"audio_filepath": f"{name}.wav", "text": name}) + "\n"
        )
    prepare(source, tmp_path / "out")
    assert splits_of(tmp_path / "out") == {
        "train_manifest": "train",
        "dev_manifest": "dev",
        "test_manifest": "test",
    }
