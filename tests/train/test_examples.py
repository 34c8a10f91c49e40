from __future__ import annotations

import pytest
import torch

from tests.train.tones import department, relabel
from tpactl.audio.decode import decode
from tpactl.bases.load import load_base
from tpactl.formats.dataset import DataSet
from tpactl.train.examples import read_split


@pytest.fixture(scope="module")
def base(taught):
    return load_base(str(taught))


@pytest.fixture
def data(tmp_path):
    folder = department(tmp_path / "data", texts={"train": ["123", "a b", "cad d", "d", "ab bc"]})
    relabel(folder, "train-2", "d" * 60)
    return DataSet(folder)


@pytest.mark.parametrize("limit_bytes", [10**8, 0])
def test_features_belong_to_their_examples_when_others_are_left_out(limit_bytes, base, data):
    split, left_out = read_split(base, data, "train", limit_bytes=limit_bytes, drop_unusable=True)
    assert [example.id for example in split.examples] == ["train-1", "train-3", "train-4"]
    assert (left_out.empty, left_out.too_short) == (["train-0"], ["train-2"])
    for index, example in enumerate(split.examples):
        expected = base.extract(decode(example.path).samples)
        assert torch.equal(split.features([index])[0], expected)
        faster = split.features([index], [1.1])[0]
        assert len(faster) == pytest.approx(len(expected) / 1.1, abs=2)


def test_labels_are_the_transcript_in_the_bases_alphabet(base, data):
    split, _ = read_split(base, data, "train", limit_bytes=0, drop_unusable=True)
    labels, lengths = split.labels([0, 2])
    assert lengths.tolist() == [3, 5]
    assert labels.tolist() == base.encode("A b!") + base.encode("ab bc")


def test_a_measurement_leaves_nothing_out(base, data):
    split, left_out = read_split(base, data, "train", limit_bytes=0, drop_unusable=False)
    assert len(split) == 5
    assert left_out.notes() == []


def test_labels_that_just_fit_stay(base, tmp_path):
    folder = department(tmp_path / "data", texts={"train": ["a"]})
    data = DataSet(folder)
    features = base.extract(decode(data.audio_path(data.utterances("train")[0])).samples)
    frames = int(base.output_lengths(torch.tensor([len(features)]))[0])

    def kept(text: str) -> int:
        relabel(folder, "train-0", text)
        split, _ = read_split(base, DataSet(folder), "train", limit_bytes=0, drop_unusable=True)
        return len(split)

    fits = ("ab" * frames)[:frames]
    assert kept(fits) == 1
    assert kept(fits + "a" if fits[-1] == "b" else fits + "b") == 0
    # Two equal letters need a blank between them.
    assert kept(fits[0] + fits[:-1]) == 0
    assert kept(fits[0] + fits[:-2]) == 1
