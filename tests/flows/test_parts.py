"""A part is kept exactly as long as it is what would be made now."""

from __future__ import annotations

import pytest

from tpactl.errors import InputError, UsageError
from tpactl.flows.parts import folder_digest, parts_of


class Maker:
    """Makes a folder of two files and counts how often."""

    def __init__(self):
        self.times = 0

    def __call__(self, path):
        self.times += 1
        (path / "inner").mkdir(parents=True)
        (path / "one.txt").write_text("1")
        (path / "inner/two.txt").write_text("2")


@pytest.fixture
def make():
    return Maker()


def keep_or_make(folder, make, made_from=("same",), name="part"):
    with parts_of(folder, "flow") as parts:
        return parts.keep_or_make(name, list(made_from), make)


def test_a_part_from_the_same_inputs_is_kept(tmp_path, make):
    assert keep_or_make(tmp_path, make) is False
    assert keep_or_make(tmp_path, make) is True
    assert make.times == 1


def test_other_inputs_make_it_again(tmp_path, make):
    keep_or_make(tmp_path, make)
    assert keep_or_make(tmp_path, make, ("other",)) is False
    assert make.times == 2


def test_another_version_of_tpactl_makes_it_again(tmp_path, make, monkeypatch):
    keep_or_make(tmp_path, make)
    monkeypatch.setattr("tpactl.flows.parts.__version__", "9.9.9")
    assert keep_or_make(tmp_path, make) is False


@pytest.mark.parametrize(
    "damage",
    [
        lambda part: (part / "one.txt").write_text("x"),
        lambda part: (part / "one.txt").unlink(),
        lambda part: (part / "three.txt").write_text("3"),
        lambda part: (part / "one.txt").rename(part / "zero.txt"),
    ],
    ids=["changed", "removed", "added", "renamed"],
)
def test_a_damaged_part_is_made_again_whole(tmp_path, make, damage):
    keep_or_make(tmp_path, make)
    whole = folder_digest(tmp_path / "part")
    damage(tmp_path / "part")
    assert keep_or_make(tmp_path, make) is False
    assert folder_digest(tmp_path / "part") == whole


def test_a_part_that_is_a_file_is_checked_too(tmp_path):
    keep_or_make(tmp_path, lambda path: path.write_text("1"))
    (tmp_path / "part").write_text("2")
    assert keep_or_make(tmp_path, lambda path: path.write_text("1")) is False
    assert (tmp_path / "part").read_text() == "1"


def test_an_interrupted_part_is_made_again(tmp_path, make):
    def interrupted(path):
        make(path)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_or_make(tmp_path, interrupted)
    assert keep_or_make(tmp_path, make) is False
    assert keep_or_make(tmp_path, make) is True


def test_what_the_flow_did_not_make_is_refused_and_left_alone(tmp_path, make):
    (tmp_path / "part").mkdir()
    (tmp_path / "part/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not from an earlier run"):
        keep_or_make(tmp_path, make)
    assert (tmp_path / "part/mine.txt").read_text() == "mine"
    assert make.times == 0


def test_one_process_at_a_time(tmp_path, make):
    with parts_of(tmp_path, "flow"), pytest.raises(UsageError, match="another tpactl flow"):
        keep_or_make(tmp_path, make)
    assert keep_or_make(tmp_path, make) is False


def test_a_file_is_no_folder_to_work_in(tmp_path, make):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        keep_or_make(tmp_path / "file", make)


def test_a_record_changed_by_hand_is_refused(tmp_path, make):
    keep_or_make(tmp_path, make)
    (tmp_path / "flow.json").write_text("{}")
    with pytest.raises(InputError, match=r"flow\.json"):
        keep_or_make(tmp_path, make)


def test_what_a_killed_process_left_half_written_goes_away(tmp_path, make):
    keep_or_make(tmp_path, make)
    (tmp_path / ".building-x").mkdir()
    keep_or_make(tmp_path, make)
    assert not (tmp_path / ".building-x").exists()
