"""``tpactl gate``: what it prints, and the exit code a pipeline reads."""

from __future__ import annotations

import json

import pytest

from tests.gate.test_gate import counted, policy_file
from tpactl.cli import console


@pytest.fixture
def report(tmp_path):
    return counted(tmp_path / "report")


def test_a_met_policy_is_exit_0_with_every_rule_and_the_next_step(tpactl, report, tmp_path):
    policy = policy_file(tmp_path, min_test_hours=0.5, max_forgetting=0.05, max_package_mb=2)
    done = tpactl("gate", "--report", report, "--policy", policy)
    assert (done.exit_code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()]
    assert ["min_test_hours", "0.50", "h", "at", "least", "0.50", "h", "passes"] in rows
    assert "max_package_mb 1.90 MB at most 2.00 MB passes" in " ".join(done.out.split())
    assert "picking meets every rule of policy.yaml" in done.out
    assert f"--eval {report} --out FILE.tpa" in done.out


def test_a_missed_rule_is_exit_7_and_says_what_is_wrong(tpactl, report, tmp_path):
    policy = policy_file(
        tmp_path, max_package_mb=1, max_real_time_factor=0.5,
        improvement_over_base={"relative": 0.99, "probability": 0.9},
    )  # fmt: skip
    done = tpactl("gate", "--report", report, "--policy", policy)
    assert done.exit_code == 7
    assert done.err.splitlines()[0] == "error: picking fails 2 of 4 rules of policy.yaml"
    assert "max_package_mb: 1.90 MB is above 1.00 MB (to store beside the base)" in done.err
    assert "improvement_over_base.relative" in done.err
    assert "fix:   " in done.err
    assert done.out.count("passes") == 2
    assert json.loads((report / "gate.json").read_text())["passed"] is False


def test_what_was_not_measured_names_the_flag(tpactl, tmp_path):
    report = counted(tmp_path / "report", general=None)
    done = tpactl("gate", "--report", report, "--policy", policy_file(tmp_path, max_forgetting=1))
    assert done.exit_code == 7
    assert "not measured" in done.out
    assert "max_forgetting: not measured: measure it: tpactl eval --general DATA" in done.err


def test_json_is_the_decision_alone_whatever_it_is(tpactl, report, tmp_path):
    for size, code in ((2, 0), (1, 7)):
        policy = policy_file(tmp_path, max_package_mb=size)
        done = tpactl("gate", "--report", report, "--policy", policy, "--json")
        assert (done.exit_code, done.err) == (code, "")
        assert done.json == json.loads((report / "gate.json").read_text())
        assert done.json["passed"] is (code == 0)


def test_an_unknown_rule_is_exit_2_with_the_nearest_name(tpactl, report, tmp_path):
    policy = policy_file(tmp_path, max_wer_rate=1)
    done = tpactl("gate", "--report", report, "--policy", policy)
    assert done.exit_code == 2
    assert "unknown rule 'max_wer_rate'; the nearest is max_error_rate" in done.err
    assert not (report / "gate.json").exists()


def test_no_report_is_exit_3(tpactl, tmp_path):
    done = tpactl("gate", "--report", tmp_path, "--policy", policy_file(tmp_path, max_package_mb=1))
    assert done.exit_code == 3


def test_a_forged_report_is_exit_5(tpactl, report, tmp_path):
    content = json.loads((report / "report.json").read_text())
    content["systems"][2]["wer"]["hits"] += 1
    (report / "report.json").write_text(json.dumps(content))
    policy = policy_file(tmp_path, max_package_mb=2)
    assert tpactl("gate", "--report", report, "--policy", policy).exit_code == 5


def test_the_table_fits_a_narrow_terminal(tpactl, report, tmp_path, monkeypatch):
    monkeypatch.setattr(console.out, "width", 60)
    done = tpactl("gate", "--report", report, "--policy", policy_file(tmp_path, max_package_mb=2))
    table = done.out.split("picking meets")[0]
    assert max(map(len, table.splitlines())) <= 60
