"""Whatever goes wrong in a command leaves by the right exit code and in the right words."""

from __future__ import annotations

import errno
import os
import pickle
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tpactl import errors
from tpactl.audio.decode import BadAudioError, MissingDecoderError
from tpactl.errors import TpactlError

CODES = {
    errors.UsageError: 2,
    errors.InputError: 3,
    errors.BaseError: 4,
    errors.IntegrityError: 5,
    errors.MachineError: 6,
    errors.GateError: 7,
}


@pytest.fixture
def broken(monkeypatch, tpactl, tmp_path):
    """Return the outcome of a command whose body raises the given error."""

    def call(error, *options):
        def raises(folder):
            raise error

        monkeypatch.setattr("tpactl.flows.start.start", raises)
        return tpactl("init", tmp_path / "new", *options)

    return call


def test_every_error_class_has_its_own_exit_code():
    assert set(CODES) == set(TpactlError.__subclasses__())


@pytest.mark.parametrize("kind", CODES)
def test_an_error_is_two_lines_on_stderr_with_its_details_between(broken, kind):
    outcome = broken(kind("a.wav: too [short]", "record it again", details=["one", "two"]))
    assert outcome.exit_code == CODES[kind]
    assert outcome.out == ""
    assert outcome.err == (
        "error: a.wav: too [short]\n       one\n       two\nfix:   record it again\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        errors.InputError("too short", "record it again", ["one", "two"]),
        BadAudioError(Path("a.wav"), "too short"),
        MissingDecoderError(Path("a.amr")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_says_the_same_in_another_process(error):
    error.fix += "; then go on"
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    assert str(arrived) == error.problem
    assert vars(arrived) == vars(error)


def test_a_long_error_is_not_broken_into_lines(broken):
    outcome = broken(errors.InputError("x" * 300, "y" * 300))
    assert outcome.err.splitlines() == ["error: " + "x" * 300, "fix:   " + "y" * 300]


def test_json_errors_are_one_object_on_stdout(broken):
    outcome = broken(errors.BaseError("wrong base", "give another", details=["weights"]), "--json")
    assert outcome.exit_code == 4
    assert outcome.err == ""
    assert outcome.json == {
        "error": "wrong base",
        "fix": "give another",
        "exit_code": 4,
        "details": ["weights"],
    }


@pytest.mark.parametrize(
    ("arguments", "problem", "fix"),
    [
        (["nonsense"], "no such command 'nonsense'", "run: tpactl --help"),
        (["ini"], "no such command 'ini'", "did you mean: tpactl init"),
        (["init"], "missing argument 'DIR'", "run: tpactl init --help"),
        (["init", "--jsn", "x"], "no such option: --jsn", "did you mean: --json"),
        (["init", "--nothing", "x"], "no such option: --nothing", "run: tpactl init --help"),
        (["base", "shwo", "x"], "no such command 'shwo'", "did you mean: tpactl base show"),
        (["init", "my", "folder"], "one argument too many: folder", "put quotes around a name"),
        (["prepare", "x", "--out"], "option '--out' requires an argument", "run: tpactl"),
        (
            ["base", "show", "starter", "--width", "wide"],
            "--width is 'wide'; it must be a whole number",
            "give --width another value; tpactl base show --help",
        ),
        (
            ["base", "show", "starter", "--width", "0"],
            "--width is 0; it must be at least 1",
            "give --width another value; tpactl base show --help",
        ),
        (
            ["eval", "--data", "x", "--price-per-hour", "-1"],
            "--price-per-hour is -1; it must be at least 0",
            "give --price-per-hour another value",
        ),
        (
            ["train", "--precision", "fp16"],
            "--precision is 'fp16'; it must be one of: auto, fp32, bf16",
            "give --precision another value",
        ),
        (["base"], "missing command", "run: tpactl base --help"),
    ],
)
def test_usage_errors_have_the_same_two_lines(tpactl, arguments, problem, fix):
    outcome = tpactl(*arguments)
    assert outcome.exit_code == 2
    assert outcome.out == ""
    first, second = outcome.err.splitlines()
    assert first.startswith(f"error: {problem}")
    assert second.startswith(f"fix:   {fix}")


def test_a_usage_error_with_json_is_json(tpactl):
    outcome = tpactl("init", "--json")
    assert outcome.exit_code == outcome.json["exit_code"] == 2
    assert outcome.json["error"] == "missing argument 'DIR'"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 6, "No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 6, "/x: Permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), 3, "/x: No such"),
        (MemoryError(), 6, "out of memory"),
        (ModuleNotFoundError("No module named 'soxr'", name="soxr"), 6, "soxr is not installed"),
    ],
)
def test_known_troubles_of_the_machine_are_explained(broken, error, code, words):
    outcome = broken(error)
    assert outcome.exit_code == code
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.err.splitlines()[-1].startswith("fix:   ")


def test_a_device_out_of_memory_is_explained(broken):
    import torch

    outcome = broken(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.\nmore"))
    assert outcome.exit_code == 6
    assert "error: the device ran out of memory: CUDA out of memory. Tried 2 GiB." in outcome.err
    assert "smaller batches" in outcome.err


def test_a_bug_of_ours_keeps_its_traceback_and_says_where_to_report(broken):
    outcome = broken(ZeroDivisionError("division by zero"))
    assert outcome.exit_code == 1
    assert "Traceback (most recent call last)" in outcome.err
    assert "ZeroDivisionError: division by zero" in outcome.err
    assert "report" in outcome.err.splitlines()[-1]


def test_a_bug_of_ours_with_json_is_still_one_object(broken):
    outcome = broken(ZeroDivisionError("division by zero"), "--json")
    assert outcome.json["exit_code"] == outcome.exit_code == 1
    assert "ZeroDivisionError" in outcome.json["error"]
    assert "Traceback" in outcome.err


WAITS = """
import pathlib, sys, time
from tpactl.flows import start
from tpactl.formats import files

def slow(folder):
    with files.whole_folder(pathlib.Path(folder)) as building:
        (building / "half").write_text("x")
        print("started", file=sys.stderr, flush=True)
        time.sleep(30)

start.start = slow
from tpactl.cli.app import main
main(["init", sys.argv[1]])
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_nothing_half_written(tmp_path, sent, code):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(tmp_path / "new")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "started\n"
    time.sleep(0.1)
    process.send_signal(sent)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_went_away_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "tpactl", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["--help"], ["base", "fingerprint", "starter", "--json"]])
def test_output_that_the_disk_refuses_is_exit_6(arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = subprocess.run(
            [sys.executable, "-m", "tpactl", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 6
    first, second = process.stderr.splitlines()
    assert "No space left on device" in first
    assert second.startswith("fix:   free disk space")


def test_closed_output_is_no_error():
    command = shlex.join([sys.executable, "-m", "tpactl", "base", "fingerprint", "starter"])
    process = subprocess.run(
        ["sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
