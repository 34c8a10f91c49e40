"""What a killed process leaves is cleared by the next one; what a living one writes is not."""

import signal
import subprocess
import sys

import pytest

from tpactl.formats.files import whole_folder
from tpactl.package.archive import whole_file

FOLDER = """
import pathlib, sys, time
from tpactl.formats.files import whole_folder
with whole_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "half").write_text("written")
    print("begun", flush=True)
    time.sleep(60)
"""
FILE = """
import pathlib, sys, time
from tpactl.package.archive import whole_file
with whole_file(pathlib.Path(sys.argv[1])) as file:
    file.write(b"half")
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def begin():
    """Start a process that writes unfinished work, and return it once it does."""
    started = []

    def start(program, place):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("program", [FOLDER, FILE], ids=["folder", "file"])
def test_what_a_killed_process_left_is_cleared_by_the_next(begin, tmp_path, program):
    process = begin(program, tmp_path / "place")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(tmp_path.iterdir())) == 2  # the work and its lock
    with whole_folder(tmp_path / "other") as folder:
        assert sorted(tmp_path.iterdir())[0] == folder
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_what_a_living_process_writes_stays(begin, tmp_path):
    begin(FOLDER, tmp_path / "place")
    with whole_file(tmp_path / "other") as file:
        file.write(b"whole")
    (half,) = tmp_path.glob(".building-*/half")
    assert half.read_text() == "written"


def test_unfinished_work_within_one_process_stands_side_by_side(tmp_path):
    with whole_folder(tmp_path / "one") as one, whole_folder(tmp_path / "two") as two:
        (one / "a").touch()
        (two / "b").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "one", "one/a", "two", "two/b",
    ]  # fmt: skip


def test_what_others_left_without_a_lock_is_not_touched(tmp_path):
    (tmp_path / ".building-by-hand").mkdir()
    with whole_folder(tmp_path / "one"):
        pass
    assert (tmp_path / ".building-by-hand").is_dir()
