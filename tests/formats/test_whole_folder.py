"""A folder appears whole, and what it replaces is never lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpactl.errors import InputError, MachineError
from tpactl.formats import files


def test_the_old_folder_stays_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    place = tmp_path / "data"
    with files.whole_folder(place) as folder:
        (folder / "version").write_text("old")
    renamed = Path.rename

    def refuses_the_new_one(self: Path, target: Path) -> Path:
        if self.name.startswith(files.BUILDING_PREFIX):
            raise PermissionError(1, "Operation not permitted")
        return renamed(self, target)

    monkeypatch.setattr(Path, "rename", refuses_the_new_one)
    with pytest.raises(MachineError), files.whole_folder(place, replace=True) as folder:
        (folder / "version").write_text("new")
    assert (place / "version").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_replaced_folder_leaves_nothing_behind(tmp_path):
    place = tmp_path / "data"
    for version in ("old", "new"):
        with files.whole_folder(place, replace=True) as folder:
            (folder / "version").write_text(version)
    assert (place / "version").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_another_process_finished_meanwhile_is_not_replaced(tmp_path):
    place = tmp_path / "data"

    def write() -> None:
        with files.whole_folder(place):
            place.mkdir()
            (place / "version").write_text("another's")

    with pytest.raises(InputError, match="exists already"):
        write()
    assert (place / "version").read_text() == "another's"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
