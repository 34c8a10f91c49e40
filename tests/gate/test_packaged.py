"""The gate's decision travels in the package, if it belongs to the evaluation and the adapter."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.gate.test_gate import policy_file
from tests.package.builders import (
    NAME,
    VERSION,
    StillBase,
    build_still_package,
    digest,
    parts_of,
    reseal,
    still_canary,
    still_identity,
    write_report,
    write_still_run,
)
from tpactl.errors import InputError, IntegrityError
from tpactl.formats.files import write_json
from tpactl.formats.gate import GATE_FILE, GateRecord, JudgedSystem, input_digests
from tpactl.formats.report import read_report
from tpactl.gate.policy import read_policy
from tpactl.gate.rules import judge
from tpactl.package import canary
from tpactl.package.build import build
from tpactl.package.read import open_package


def decide(folder, system="picking", **rules):
    """Write the decision on a hand-made report, which has no utterances to be checked."""
    (folder / "utterances.jsonl").touch()
    report = read_report(folder)
    judged = next(s for s in report.systems if s.name == system)
    used = read_policy(policy_file(folder.parent, **rules))
    results = judge(report, judged, used.content)
    record = GateRecord(
        tpactl_version="0.1.0",
        passed=all(result.passed for result in results),
        system=JudgedSystem(name=judged.name, kind=judged.kind, digest=judged.digest),
        rules=results,
        policy=used,
        inputs=input_digests(folder),
        data_digest=report.data_digest,
        base_digest=report.base_digest,
    )
    write_json(folder / GATE_FILE, record)
    return record


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return a function that packages the judged run of ``tmp_path``."""
    monkeypatch.setattr(canary, "make", lambda base, folder: still_canary())
    run = write_still_run(tmp_path / "run")
    report = write_report(tmp_path / "report", run, still_identity().digest)

    def package():
        return build(
            run, name=NAME, version=VERSION, out=tmp_path / "made.tpa", force=True,
            base=StillBase(still_identity()), evaluation=report,
        ).path  # fmt: skip

    return report, package


@pytest.mark.parametrize(("limit", "passed"), [(0.5, True), (0.1, False)])
def test_the_decision_is_in_the_package_and_inspect_shows_it(tpactl, made, limit, passed):
    report, package = made
    record = decide(report, max_error_rate=limit)
    assert record.passed is passed
    path = package()
    assert open_package(path).decision == record
    assert json.loads(parts_of(path.read_bytes())[GATE_FILE])["passed"] is passed
    shown = tpactl("inspect", path).out
    assert f"release gate: {'passed' if passed else 'not passed'}, policy.yaml" in shown
    assert "max_error_rate" in shown
    assert tpactl("inspect", path, "--json").json["gate"] == msgspec.to_builtins(record)
    assert tpactl("verify", path).exit_code == 0


def test_a_package_without_a_decision_says_so(tpactl, tmp_path):
    path = build_still_package(tmp_path)
    assert open_package(path).decision is None
    assert GATE_FILE not in parts_of(path.read_bytes())
    assert "release gate" not in tpactl("inspect", path).out


def test_a_decision_on_another_report_is_refused(made):
    report, package = made
    decide(report, max_error_rate=0.5)
    content = json.loads((report / "report.json").read_text())
    content["systems"][1]["wer"]["rate"] = 0.01
    (report / "report.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="does not belong to the report"):
        package()


def test_a_decision_on_another_system_is_refused(made):
    report, package = made
    decide(report, system="base", max_error_rate=0.9)
    with pytest.raises(InputError, match="decision on base") as error:
        package()
    assert "--system" in error.value.fix


def test_a_damaged_decision_is_refused(made):
    report, package = made
    (report / GATE_FILE).write_text("{}")
    with pytest.raises(InputError, match=GATE_FILE):
        package()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"passed": True}, "not what its rules say"),
        ({"data_digest": digest(b"other")}, "another evaluation"),
        ({"base_digest": digest(b"other")}, "another evaluation"),
        ({"system": {"name": "x", "kind": "run", "digest": digest(b"x")}}, "another adapter"),
    ],
)
def test_a_decision_exchanged_inside_a_package_is_found(made, tmp_path, change, says):
    report, package = made
    decide(report, max_error_rate=0.1)
    parts = parts_of(package().read_bytes())
    parts[GATE_FILE] = json.dumps({**json.loads(parts[GATE_FILE]), **change}).encode()
    (tmp_path / "forged.tpa").write_bytes(reseal(parts))
    with pytest.raises(IntegrityError) as error:
        open_package(tmp_path / "forged.tpa")
    assert any(says in detail for detail in error.value.details)


def test_a_decision_without_its_evaluation_is_found(made, tmp_path):
    report, package = made
    decide(report, max_error_rate=0.5)
    parts = parts_of(package().read_bytes())
    del parts["evaluation.json"]
    (tmp_path / "forged.tpa").write_bytes(reseal(parts))
    with pytest.raises(IntegrityError, match=GATE_FILE):
        open_package(tmp_path / "forged.tpa")
