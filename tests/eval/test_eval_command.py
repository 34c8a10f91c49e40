import json

import pytest

from tests.eval.builders import copy, talking_base, write_package
from tpactl.cli import console


def test_a_table_of_all_systems_and_the_next_step(tpactl, room, tmp_path, monkeypatch):
    monkeypatch.setattr(console.out, "width", 120)
    out = tmp_path / "report"
    done = tpactl(
        "eval", "--data", room.data, "--run", room.tpa, "--run", room.full,
        "--package", room.package, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.err
    names = [line.split()[0] for line in done.out.splitlines() if line[:1].strip()]
    assert names[2:6] == ["base", "tpa", "full", "warehouse/picking@1.0.0"]
    assert "whisper-english 1+whisper-normalizer-" in done.out
    # Either adapter may be the best run here; there is one run with an adapter.
    assert (
        f"next:  tpactl package {room.tpa} --name department/task --version 1.0.0 "
        f"--eval {out} --out FILE.tpa"
    ) in done.out
    assert done.err == ""


def test_a_narrow_terminal_gets_one_block_a_system(tpactl, room, monkeypatch):
    monkeypatch.setattr(console.out, "width", 50)
    done = tpactl("eval", "--data", room.data, "--run", room.tpa)
    # What follows the systems is broken by the terminal alone, so that it can be cut out of a pipe.
    assert max(map(len, done.out.partition(" against ")[0].splitlines())) <= 50
    assert done.out.count("S / D / I") == 2


def test_json_is_the_report_and_nothing_else(tpactl, room, tmp_path):
    out = tmp_path / "report"
    done = tpactl("eval", "--data", room.data, "--run", room.head, "--out", out, "--json")
    assert done.exit_code == 0
    assert done.json == json.loads((out / "report.json").read_text())
    assert done.err == ""


def test_a_package_measures_as_the_run_it_was_made_of(tpactl, room):
    done = tpactl(
        "eval", "--data", room.data, "--base", room.base, "--package", room.package,
        "--run", room.tpa, "--name", "as run", "--json",
    )  # fmt: skip
    base, run, package = done.json["systems"]
    assert (run["name"], package["name"]) == ("as run", "warehouse/picking@1.0.0")
    assert (run["kind"], package["kind"]) == ("run", "package")
    assert package["wer"] == run["wer"] != base["wer"]
    assert package["size_bytes"] == room.package.stat().st_size
    assert package["digest"] != run["digest"]


def test_two_packages_of_one_name_and_version_cannot_be_told_apart(tpactl, room, tmp_path):
    other = write_package(tmp_path / "other.tpa", room.head, room.base)
    done = tpactl("eval", "--data", room.data, "--base", room.base, "--package", room.package,
                  "--package", other)  # fmt: skip
    assert done.exit_code == 2
    assert f"{room.package} and {other} are both called 'warehouse/picking@1.0.0'" in done.err


def test_the_base_alone(tpactl, room):
    done = tpactl("eval", "--data", room.data, "--base", room.base)
    assert done.exit_code == 0
    assert f"next:  tpactl train --data {room.data}" in done.out


def test_without_out_the_next_step_keeps_the_report(tpactl, room):
    done = tpactl("eval", "--data", room.data, "--run", room.tpa)
    assert f"--run {room.tpa} --out REPORT" in done.out


def test_a_leak_is_a_note_on_stderr(tpactl, room, tmp_path):
    run = copy(room.tpa, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["train_speakers"] = ["spk-1"]
    (run / "run.json").write_text(json.dumps(record))
    done = tpactl("eval", "--data", room.data, "--run", run, "--json")
    assert done.exit_code == 0
    assert done.json["leaks"][0]["speakers"] == 1
    assert "note:  run was trained on part of this test" in done.err


def test_the_terminal_answers_what_was_asked(tpactl, room, tmp_path, monkeypatch):
    monkeypatch.setattr(console.out, "width", 120)
    terms = tmp_path / "terms.txt"
    terms.write_text("dock\n")
    done = tpactl("eval", "--data", room.data, "--run", room.tpa, "--general", room.data,
                  "--slice-by", "speaker", "--glossary", terms)  # fmt: skip
    lines = [line.strip() for line in done.out.splitlines()]
    for start in (
        "tpa against base",
        "tpa on the general set",
        "worst slice of tpa",
        "terms in tpa",
    ):
        assert sum(line.startswith(start) for line in lines) == 1
    assert "MAPSSWE p" in done.out


def test_strict_makes_a_leak_exit_3(tpactl, room, tmp_path):
    run = copy(room.tpa, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["train_speakers"] = ["spk-1"]
    (run / "run.json").write_text(json.dumps(record))
    done = tpactl("eval", "--data", room.data, "--run", run, "--strict", "--out", tmp_path / "out")
    assert done.exit_code == 3
    assert "run was trained on part of this test" in done.err
    assert not (tmp_path / "out").exists()
    clean = tpactl("eval", "--data", room.data, "--run", room.tpa, "--strict", "--json")
    assert clean.exit_code == 0


def test_the_incumbent_may_be_a_run_a_package_or_one_of_the_others(tpactl, room):
    def named(*arguments):
        done = tpactl("eval", "--data", room.data, "--base", room.base, *arguments, "--json")
        assert done.exit_code == 0, done.err
        names = [system["name"] for system in done.json["systems"]]
        return done.json["incumbent"], names

    both = ["base", "tpa", "head"]
    assert named("--run", room.tpa, "--incumbent", room.head) == ("head", both)
    assert named("--run", room.tpa, "--run", room.head, "--incumbent", room.tpa) == ("tpa", both)
    assert named("--run", room.tpa, "--name", "head", "--incumbent", room.head) == (
        "incumbent",
        ["base", "head", "incumbent"],
    )
    package = "warehouse/picking@1.0.0"
    assert named("--run", room.head, "--incumbent", room.package) == (
        package,
        ["base", "head", package],
    )


def test_flags_override_the_file_of_prices(tpactl, room, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("price_per_hour: 2.0\ncurrency: EUR\n")
    done = tpactl(
        "eval", "--data", room.data, "--run", room.tpa, "--prices", prices, "--watts", "100",
        "--price-per-hour", "3.6", "--departments", "7", "--json",
    )  # fmt: skip
    costs = done.json["costs"]
    assert costs["prices"] == {
        "currency": "EUR", "price_per_hour": 3.6, "watts": 100.0, "price_per_kwh": None,
    }  # fmt: skip
    assert costs["departments"] == 7
    # Two seconds of training at 3.6 an hour.
    assert costs["systems"][1]["train_money"] == pytest.approx(0.002)


def test_the_wrong_base_is_exit_4_and_names_tensors(tpactl, room, tmp_path):
    other = talking_base(tmp_path / "other", seed=9)
    for system in (("--package", room.package), ("--run", room.full)):
        done = tpactl("eval", "--data", room.data, "--base", other, *system)
        assert done.exit_code == 4
        assert "tensors differ: " in done.err
        assert done.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--split", "dev", "--base", "BASE"], 3, "no utterances in a split 'dev'"),
        ([], 2, "no base to evaluate"),
        (["--base", "no-such"], 4, "no base called 'no-such'"),
        (["--run", "DATA"], 3, "no finished run"),
        (["--package", "DATA"], 3, "no package in this folder"),
        (["--base", "BASE", "--normaliser", "x"], 2, "unknown normaliser 'x'"),
        (["--base", "BASE", "--name", "x"], 2, "1 names for 0 runs"),
        (["--base", "BASE", "--out", "DATA"], 3, "is no report"),
        (["--base", "BASE", "--device", "abacus"], 2, "no such device"),
        (["--base", "BASE", "--incumbent", "nope"], 3, "nope"),
        (["--base", "BASE", "--slice-by", "accent"], 2, "no column 'accent'"),
        (["--base", "BASE", "--glossary", "nope.txt"], 3, "nope.txt: cannot be read"),
        (["--base", "BASE", "--normaliser", "nope.yaml"], 3, "nope.yaml: cannot be read"),
        (["--base", "BASE", "--prices", "nope.yaml"], 3, "nope.yaml: cannot be read"),
        (["--base", "BASE", "--general", "nope"], 3, "no prepared data set"),
        (["--base", "BASE", "--watts", "inf"], 3, "watts is inf"),
        (["--base", "BASE", "--resume"], 2, "needs the report's place"),
    ],
)
def test_bad_input_leaves_by_its_code(tpactl, room, arguments, code, problem):
    places = {"DATA": room.data, "BASE": room.base}
    given = [places.get(argument, argument) for argument in arguments]
    done = tpactl("eval", "--data", room.data, *given)
    assert done.exit_code == code
    assert done.err.startswith("error: ")
    assert problem in done.err
    assert "fix:   " in done.err
    assert done.out == ""
    as_json = tpactl("eval", "--data", room.data, *given, "--json")
    assert (as_json.exit_code, as_json.json["exit_code"]) == (code, code)


def test_a_package_whose_base_lies_elsewhere_asks_for_it(tpactl, room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = tpactl("eval", "--data", room.data, "--package", room.package)
    assert done.exit_code == 4
    assert "was trained on a base 'base' that is not here" in done.err
    assert "--base" in done.err


def test_a_changed_package_is_exit_5(tpactl, room, tmp_path):
    content = bytearray(room.package.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "changed.tpa"
    changed.write_bytes(content)
    done = tpactl("eval", "--data", room.data, "--base", room.base, "--package", changed)
    assert done.exit_code == 5
