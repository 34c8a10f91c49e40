"""``tpactl transcribe``: the base or exactly the adapters asked for, whatever the audio is."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from models import tiny_base

from tests.eval.builders import talking_base, write_package, write_run
from tpactl.adapters import store
from tpactl.adapters.attach import attach
from tpactl.bases.load import load_base
from tpactl.flows import transcribe as flow
from tpactl.package.build import build

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base that hears words, two runs, a package of one of them, a full run, two recordings."""
    folder = tmp_path_factory.mktemp("transcribe")
    base = talking_base(folder / "base")
    write_run(folder / "one", base, seed=1)
    write_run(folder / "two", base, seed=2)
    write_run(folder / "full", base, method="full", seed=3)
    write_package(folder / "picking.tpa", folder / "one", base)
    tiny_base(folder / "other", seed=7)
    soundfile.write(folder / "a.wav", noise(0.9, 1), RATE)
    stereo = np.stack([noise(1.3, 2)] * 2, axis=1)
    soundfile.write(folder / "b.flac", np.repeat(stereo, 2, axis=0), 2 * RATE)
    return folder


@pytest.fixture
def hear(tpactl, place):
    def call(*options):
        options = [o.format(place) if isinstance(o, str) else o for o in options]
        return tpactl("transcribe", place / "a.wav", place / "b.flac", "--base", *options)

    return call


def texts(outcome, adapter):
    assert outcome.exit_code == 0, outcome.err
    rows = [row for row in outcome.json["transcripts"] if row["adapter"] == adapter]
    assert len(rows) == 2
    return [row["text"] for row in rows]


def test_the_base_alone_prints_one_line_a_recording(hear, place):
    outcome = hear("{}/base")
    assert outcome.exit_code == 0
    first, second = outcome.out.splitlines()
    assert first.startswith(f"{place}/a.wav: ")
    assert second.startswith(f"{place}/b.flac: ")
    assert outcome.err == ""


def test_adapters_are_heard_and_the_base_is_unchanged_by_them(hear):
    base = texts(hear("{}/base", "--json"), None)
    both = hear("{}/base", "--run", "{}/one", "--run", "{}/two", "--json")
    one, two = texts(both, "one"), texts(both, "two")
    assert len({tuple(base), tuple(one), tuple(two)}) == 3
    assert texts(hear("{}/base", "--run", "{}/two", "--json"), "two") == two
    assert texts(hear("{}/base", "--json"), None) == base


def test_a_package_says_what_its_run_says(hear):
    outcome = hear("{}/base", "--package", "{}/picking.tpa", "--json")
    (name,) = {row["adapter"] for row in outcome.json["transcripts"]}
    assert texts(outcome, name) == texts(hear("{}/base", "--run", "{}/one", "--json"), "one")


def test_the_base_is_loaded_once(hear, monkeypatch):
    import tpactl.bases.load as load

    loaded, real = [], load.load_base
    monkeypatch.setattr(load, "load_base", lambda *a, **k: loaded.append(a) or real(*a, **k))
    assert hear("{}/base", "--run", "{}/one", "--run", "{}/two").exit_code == 0
    assert len(loaded) == 1


def test_several_adapters_have_a_named_line_each(hear):
    lines = hear("{}/base", "--run", "{}/one", "--run", "{}/two").out.splitlines()
    assert len(lines) == 4
    assert ["[one]" in line for line in lines] == [True, False, True, False]
    assert ["[two]" in line for line in lines] == [False, True, False, True]


def test_one_of_several_can_be_chosen(hear):
    given = ("--run", "{}/one", "--package", "{}/picking.tpa", "--json")
    name = hear("{}/base", *given).json["transcripts"][0]["adapter"]
    assert name == "warehouse/picking@1.0.0"
    for chosen in (name, "warehouse/picking", "warehouse"):
        outcome = hear("{}/base", *given, "--adapter", chosen)
        assert {row["adapter"] for row in outcome.json["transcripts"]} == {name}


def test_an_unknown_adapter_is_an_error_and_never_the_base(hear):
    outcome = hear("{}/base", "--run", "{}/one", "--adapter", "three")
    assert (outcome.exit_code, outcome.out) == (2, "")
    assert "three" in outcome.err
    assert "choose from: one" in outcome.err


def test_an_adapter_without_a_package_is_an_error(hear):
    assert hear("{}/base", "--adapter", "one").exit_code == 2


def test_an_adapter_of_no_name_is_an_error(hear):
    outcome = hear("{}/base", "--run", "{}/one", "--adapter", "")
    assert (outcome.exit_code, outcome.out) == (2, "")


@pytest.mark.parametrize("given", [("--run", "{}/one"), ("--package", "{}/picking.tpa")])
def test_the_wrong_base_is_exit_4(hear, given):
    outcome = hear("{}/other", *given)
    assert (outcome.exit_code, outcome.out) == (4, "")
    assert "/tpactl-" not in outcome.err  # where packages are unpacked meanwhile
    # A package holds the whole identity, a run its digest alone.
    assert ("tensors differ" in outcome.err) == ("--package" in given)


def test_a_full_fine_tune_is_a_base_of_its_own(hear, place):
    outcome = hear("{}/base", "--run", "{}/full")
    assert outcome.exit_code == 4
    assert f"--base {place / 'full' / 'model'}" in outcome.err
    assert hear("{}/full/model").exit_code == 0


def test_a_changed_package_is_exit_5(hear, place, tmp_path):
    content = bytearray((place / "picking.tpa").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "changed.tpa").write_bytes(content)
    outcome = hear(
        "{}/base", "--package", "{}/picking.tpa", "--package", str(tmp_path / "changed.tpa")
    )
    assert (outcome.exit_code, outcome.out) == (5, "")
    assert "changed.tpa: " in outcome.err


@pytest.fixture(scope="module")
def departments(place):
    """Packages of two departments in a folder, and a table that gives each recording its own."""
    folder = place / "departments"
    folder.mkdir()
    for name, run in (("dock/picking", "one"), ("clinic/notes", "two")):
        build(
            place / run, name=name, version="1.0.0", out=folder / f"{run}.tpa",
            base=load_base(str(place / "base")),
        )  # fmt: skip
    (place / "calls.csv").write_text(
        "audio_filepath,adapter\na.wav,clinic\nb.flac,dock/picking\na.wav,\n"
        "b.flac,clinic/notes@1.0.0\na.wav,dock\n"
    )
    return folder


def test_each_recording_is_heard_with_the_adapter_of_its_row(tpactl, hear, place, departments):
    outcome = tpactl(
        "transcribe", "--manifest", place / "calls.csv", "--base", place / "base",
        "--package", departments, "--json",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.err
    rows = outcome.json["transcripts"]
    assert [(row["audio"].rpartition("/")[2], row["adapter"]) for row in rows] == [
        ("a.wav", "clinic/notes@1.0.0"), ("b.flac", "dock/picking@1.0.0"), ("a.wav", None),
        ("b.flac", "clinic/notes@1.0.0"), ("a.wav", "dock/picking@1.0.0"),
    ]  # fmt: skip
    one = texts(hear("{}/base", "--run", "{}/one", "--json"), "one")
    two = texts(hear("{}/base", "--run", "{}/two", "--json"), "two")
    base = texts(hear("{}/base", "--json"), None)
    assert [row["text"] for row in rows] == [two[0], one[1], base[0], two[1], one[0]]
    assert outcome.json["alone"] == {}


def test_departments_share_batches(tpactl, place, departments, monkeypatch):
    from tpactl.bases.base import Base

    passes, real = [], Base.logits
    monkeypatch.setattr(
        Base, "logits", lambda self, f: passes.append(len(f.lengths)) or real(self, f)
    )
    given = ("--manifest", place / "calls.csv", "--base", place / "base", "--package", departments)
    outcome = tpactl("transcribe", *given)
    assert passes == [5]
    lines = outcome.out.splitlines()
    assert len(lines) == 5
    assert "[clinic/notes@1.0.0]" in lines[0]
    assert "[base]" in lines[2]
    assert outcome.err == ""


def test_methods_that_share_no_batch_are_named_and_heard_all_the_same(tpactl, place, tmp_path):
    base = load_base(str(place / "base"))
    lora = attach(base, "lora", seed=4)
    with torch.no_grad():
        for tensor in lora.parameters():
            tensor.add_(0.2)
    store.save(lora, tmp_path / "lora" / "adapter")
    shutil.copy(place / "one" / "run.json", tmp_path / "lora" / "run.json")
    table = tmp_path / "calls.csv"
    table.write_text(f"file,adapter\n{place}/a.wav,lora\n{place}/a.wav,one\n{place}/a.wav,\n")
    runs = ("--run", tmp_path / "lora", "--run", place / "one", "--base", place / "base")
    outcome = tpactl("transcribe", "--manifest", table, *runs)
    assert outcome.exit_code == 0, outcome.err
    assert "note:  lora: no batch is shared with other adapters (lora: the part at" in outcome.err
    apart = tpactl("transcribe", place / "a.wav", *runs[:2], "--base", place / "base")
    assert outcome.out.splitlines()[0].partition("]: ")[2] == apart.out.strip().partition(": ")[2]
    assert "note" not in apart.err


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        (
            "a.wav,kitchen\nb.flac,nurse\n", 3,
            ["line 2: no single adapter is called 'kitchen'",
             "line 3: no single adapter is called 'nurse'",
             "choose from: dock/picking@1.0.0, clinic/notes@1.0.0, or leave it empty"],
        ),
        ("none.wav,clinic\n", 3, ["none.wav"]),
        ("a.wav\n", 3, ["the header has 2"]),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused_before_anything_is_heard(
    tpactl, place, departments, tmp_path, rows, code, said
):
    for name in ("a.wav", "b.flac"):
        shutil.copy(place / name, tmp_path / name)
    (tmp_path / "calls.csv").write_text("file,adapter\n" + rows)
    outcome = tpactl(
        "transcribe", "--manifest", tmp_path / "calls.csv", "--base", place / "base",
        "--package", departments,
    )  # fmt: skip
    assert (outcome.exit_code, outcome.out) == (code, "")
    for words in said:
        assert words in outcome.err.replace("\n", " ")


def test_a_department_of_another_base_is_exit_4(tpactl, place, departments):
    outcome = tpactl(
        "transcribe", "--manifest", place / "calls.csv", "--base", place / "other",
        "--package", departments,
    )  # fmt: skip
    assert (outcome.exit_code, outcome.out) == (4, "")


def test_recordings_come_one_way_and_at_least_one(tpactl, place, departments):
    table = ("--manifest", place / "calls.csv", "--package", departments)
    for given, said in (
        ((place / "a.wav", *table), "names the recordings"),
        ((*table, "--adapter", "clinic"), "names the recordings"),
        ((), "no recordings"),
    ):
        outcome = tpactl("transcribe", *given, "--base", place / "base")
        assert (outcome.exit_code, outcome.out) == (2, "")
        assert said in outcome.err


def test_every_bad_recording_is_listed_and_none_is_transcribed(tpactl, place, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.mp3").write_text("no audio")
    outcome = tpactl(
        "transcribe", place / "a.wav", tmp_path / "empty.wav", tmp_path / "text.mp3",
        tmp_path / "missing.wav", "--base", place / "base", "--json",
    )  # fmt: skip
    assert outcome.exit_code == 3
    assert [
        name for name in ("empty.wav", "text.mp3", "missing.wav")
        if any(name in line for line in outcome.json["details"])
    ] == ["empty.wav", "text.mp3", "missing.wav"]  # fmt: skip


def piped(place, sound: bytes, *more):
    command = [sys.executable, "-m", "tpactl", "transcribe", "-", "--base", place / "base", *more]
    return subprocess.run(command, input=sound, capture_output=True)


def test_a_recording_comes_from_standard_input(tpactl, place):
    sound = (place / "b.flac").read_bytes()
    done = piped(place, sound, "--json")
    assert done.returncode == 0, done.stderr
    heard = json.loads(done.stdout)["transcripts"]
    named = tpactl("transcribe", place / "b.flac", "--base", place / "base", "--json").json
    assert [(t["audio"], t["text"]) for t in heard] == [("-", named["transcripts"][0]["text"])]


@pytest.mark.parametrize("sound", [b"", b"hello", "cut off"])
def test_standard_input_that_is_no_recording_is_exit_3(place, sound):
    if sound == "cut off":
        sound = (place / "a.wav").read_bytes()[:9_000]
    done = piped(place, sound)
    assert (done.returncode, done.stdout) == (3, b"")
    problem, fix = done.stderr.decode().splitlines()
    assert problem.startswith("error: standard input: ")
    assert fix == "fix:   pipe in a whole recording"


def test_a_terminal_is_told_what_is_expected(place):
    reading, writing = pty.openpty()
    command = [sys.executable, "-m", "tpactl", "transcribe", "-", "--base", place / "base"]
    done = subprocess.run(command, stdin=writing, capture_output=True, timeout=60)
    os.close(reading)
    os.close(writing)
    assert done.returncode == 2
    assert b"which is this terminal" in done.stderr


def test_json_names_base_device_and_pieces(hear, place):
    found = hear("{}/base", "--device", "cpu", "--json").json
    assert found["schema_version"] == 1
    assert found["base_ref"] == str(place / "base")
    assert found["base_digest"].startswith("sha256:")
    assert found["device"] == "cpu"
    row = found["transcripts"][1]
    assert row["duration_s"] == pytest.approx(1.3, abs=0.01)
    assert [(p["start_s"], p["text"]) for p in row["pieces"]] == [(0.0, row["text"])]


def test_a_long_recording_is_cut_in_its_pauses():
    pauses = [22.0, 47.0, 70.0]
    wave = noise(80.0)
    for pause in pauses:
        wave[round((pause - 0.3) * RATE) : round((pause + 0.3) * RATE)] = 0
    pieces = flow.cut(wave)
    assert [end for _, end in pieces[:-1]] == pytest.approx(pauses, abs=0.3)


@pytest.mark.parametrize("seconds", [60.1, 61.0, 75.3, 90.0, 91.0, 200.7])
def test_pieces_cover_the_recording_without_overlap_and_none_is_tiny(seconds):
    pieces = flow.cut(noise(seconds))
    assert pieces[0][0] == 0
    assert pieces[-1][1] == pytest.approx(seconds, abs=1e-3)
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    lengths = [end - start for start, end in pieces]
    assert max(lengths) <= flow.PIECE_S[1] + 0.01
    assert min(lengths) >= 0.9


def test_a_minute_is_not_cut():
    assert len(flow.cut(noise(60.0))) == 1


def test_a_long_recording_says_what_its_pieces_say(tpactl, place, tmp_path):
    soundfile.write(tmp_path / "long.wav", noise(65.0), RATE)
    (row,) = tpactl("transcribe", tmp_path / "long.wav", "--base", place / "base", "--json").json[
        "transcripts"
    ]
    assert len(row["pieces"]) > 1
    assert row["text"] == " ".join(piece["text"] for piece in row["pieces"] if piece["text"])


def test_groups_keep_the_order_and_bound_the_audio_in_memory():
    lengths = [250.0, 250.0, 250.0, 900.0, 1.0]
    assert list(flow._groups(lengths)) == [[0, 1], [2], [3], [4]]


def test_no_words_of_a_library_reach_the_user(place):
    process = subprocess.run(
        [
            sys.executable, "-W", "default", "-m", "tpactl", "transcribe", place / "a.wav",
            "--base", place / "base", "--run", place / "one",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert process.stderr == ""
    assert len(process.stdout.splitlines()) == 1


def test_beam_search_hears_listed_terms_and_says_how(tpactl, place, tmp_path):
    heard = tpactl("transcribe", place / "a.wav", "--base", place / "base", "--json").json
    assert heard["beam"] is None
    words = heard["transcripts"][0]["text"].split()
    # A word that is one letter more than what is heard.
    listed = next(w for w in words if len(w) > 2)[:-1]
    (tmp_path / "terms.txt").write_text(f"{listed}\nQX-70\n", "utf-8")
    done = tpactl(
        "transcribe", place / "a.wav", "--base", place / "base", "--words", tmp_path / "terms.txt",
        "--words-weight", 90, "--beam-width", 50, "--json",
    )  # fmt: skip
    assert listed in done.json["transcripts"][0]["text"].split()
    assert (done.json["beam"]["width"], done.json["beam"]["terms"]) == (50, 1)
    assert "QX-70" in done.err


@pytest.mark.parametrize(
    ("flags", "fix"),
    [
        (["--lm-weight", "1"], "--decode beam"),
        (["--decode", "greedy", "--words", "terms.txt"], "--decode beam"),
        (["--decode", "beam", "--word-bonus", "1"], "--lm FILE"),
    ],
    ids=str,
)
def test_a_flag_of_beam_search_that_would_do_nothing_is_refused(tpactl, place, flags, fix):
    done = tpactl("transcribe", place / "a.wav", *flags)
    assert done.exit_code == 2
    assert fix in done.err


def test_a_missing_extra_is_two_lines_that_name_it(tpactl, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    done = tpactl("transcribe", place / "a.wav", "--base", place / "base", "--decode", "beam")
    assert done.exit_code == 6
    assert "pip install 'tpactl[beam]'" in done.err
    assert len(done.err.splitlines()) == 2
