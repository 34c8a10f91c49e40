"""The gate: each rule at its limit and beyond it, what was not measured, and what is written."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise

import msgspec
import pytest
import yaml

from tests.page import reports
from tests.page.reports import full_report, leak, write_report
from tpactl import shipped
from tpactl.errors import InputError, IntegrityError, UsageError
from tpactl.formats.files import read_json, read_jsonl, write_json, write_jsonl
from tpactl.formats.gate import GateRecord, Policy, read_gate
from tpactl.formats.report import Rate, UtteranceResult
from tpactl.gate.gate import gate
from tpactl.gate.policy import read_policy
from tpactl.gate.rules import RULES, judge


def counted(folder, **changes):
    """Write a report whose rates are the sums of its utterances, as eval makes them."""
    write_report(folder, **changes)
    rows = list(read_jsonl(folder / "utterances.jsonl", UtteranceResult))
    report = full_report(**{"utterances": 6, **changes})
    systems = []
    for system in report.systems:
        own = [row for row in rows if row.system == system.name]
        wrong, hits = (sum(getattr(row, k) for row in own) for k in ("substitutions", "hits"))
        rate = Rate(
            rate=wrong / (wrong + hits), low=None, high=None, substitutions=wrong, deletions=0,
            insertions=0, hits=hits, reference_length=wrong + hits,
        )  # fmt: skip
        length = sum(row.character_reference_length for row in own)
        cer = msgspec.structs.replace(
            rate, rate=wrong / length, hits=length - wrong, reference_length=length
        )
        systems.append(msgspec.structs.replace(system, wer=rate, cer=cer))
    write_json(folder / "report.json", msgspec.structs.replace(report, systems=systems))
    return folder


def policy_file(folder, **rules):
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path


def judged(rule, limit, **changes):
    report = full_report(**changes)
    system = next(s for s in report.systems if s.name == "picking")
    results = judge(report, system, msgspec.convert({rule: limit}, Policy))
    return results if len(results) > 1 else results[0]


# The report's own figures for "picking"; a limit that is just met, and one that is just missed.
LIMITS = [
    ("min_test_hours", 0.5, 0.51),
    ("min_test_speakers", 6, 7),
    ("max_error_rate", 0.18, 0.179),
    ("max_slice_error_rate", 0.3, 0.29),
    ("max_forgetting", 0.021, 0.02),
    ("max_gap_to_full", 0.0301, 0.0299),
    ("max_package_mb", 1.9, 1.89),
    ("max_real_time_factor", 0.025, 0.024),
]


def test_every_rule_is_tried():
    tried = {rule for rule, _, _ in LIMITS}
    tried |= {"improvement_over_base", "improvement_over_incumbent", "max_leaked_utterances"}
    assert tried == set(RULES) == {field.name for field in msgspec.structs.fields(Policy)}


@pytest.mark.parametrize(("rule", "met", "missed"), LIMITS)
def test_a_rule_passes_at_its_limit_and_fails_beyond_it(rule, met, missed):
    assert judged(rule, met).passed
    result = judged(rule, missed)
    assert not result.passed
    assert result.measured is not None
    assert (result.rule, result.limit) == (rule, missed)


def test_leaks_of_the_judged_system_alone_count():
    assert judged("max_leaked_utterances", 0, leaks=[leak("today")]).passed
    general = msgspec.structs.replace(leak(), data="general")
    assert judged("max_leaked_utterances", 0, leaks=[general]).passed
    result = judged("max_leaked_utterances", 4, leaks=[leak()])
    assert (result.passed, result.measured) == (False, 5)


@pytest.mark.parametrize(
    ("role", "share", "other"),
    [("base", 0.571, "base"), ("incumbent", 0.4, "today")],
)
def test_an_improvement_has_a_size_and_a_probability(role, share, other):
    rule = f"improvement_over_{role}"
    size, chance = judged(rule, {"relative": 0.39, "probability": 0.999})
    assert (size.passed, chance.passed) == (True, True)
    assert size.measured == pytest.approx(share, abs=0.001)
    assert chance.measured == 0.9995
    assert other in size.detail
    size, chance = judged(rule, {"relative": 0.6, "probability": 1})
    assert (size.passed, chance.passed) == (False, False)
    assert [size.rule, chance.rule] == [f"{rule}.relative", f"{rule}.probability"]


MISSING = [
    ("min_test_speakers", 1, {"speakers": None}, "name no speakers"),
    ("max_slice_error_rate", 1, {"worst_slices": [], "slicings": []}, "--slice-by"),
    ("max_slice_error_rate", 1, {"worst_slices": []}, "no slice is large enough"),
    ("max_forgetting", 1, {"general": None}, "--general"),
    ("max_gap_to_full", 1, {"systems": full_report().systems[:3]}, "--method full"),
]


@pytest.mark.parametrize(("rule", "limit", "changes", "says"), MISSING)
def test_what_was_not_measured_fails_and_says_how_to_measure_it(rule, limit, changes, says):
    result = judged(rule, limit, **changes)
    assert (result.passed, result.measured) == (False, None)
    assert says in result.detail


def test_an_improvement_without_incumbent_or_test_fails():
    easy = {"relative": 0, "probability": 0}
    for result in judged("improvement_over_incumbent", easy, incumbent=None):
        assert not result.passed
        assert "--incumbent" in result.detail
    size, chance = judged("improvement_over_base", easy, comparisons=[])
    assert (size.passed, chance.passed) == (True, False)
    few = reports.compared("picking", "base", "base", -0.2, p_value=None, probability=None)
    _, chance = judged("improvement_over_base", easy, comparisons=[few])
    assert not chance.passed
    assert "too few speakers" in chance.detail


def test_a_report_by_character_is_judged_by_character():
    result = judged("max_error_rate", 0.1, metric="cer")
    assert (result.passed, result.measured, result.detail) == (True, 0.09, "CER")


def test_the_decision_is_written_with_policy_and_digests(tmp_path):
    folder = counted(tmp_path / "report")
    policy = policy_file(tmp_path, min_test_hours=0.5, max_package_mb=1)
    record = gate(folder, policy)
    assert record == read_json(folder / "gate.json", GateRecord) == read_gate(folder)
    assert (record.passed, record.system.name) == (False, "picking")
    assert [result.rule for result in record.failed] == ["max_package_mb"]
    assert record.policy.file == "policy.yaml"
    assert record.policy.content == Policy(min_test_hours=0.5, max_package_mb=1)
    contents = {"policy": policy.read_bytes()}
    contents |= {name: (folder / name).read_bytes() for name in record.inputs}
    digests = {name: "sha256:" + hashlib.sha256(c).hexdigest() for name, c in contents.items()}
    assert record.policy.digest == digests.pop("policy")
    assert record.inputs == digests
    assert sorted(record.inputs) == ["report.json", "utterances.jsonl"]
    first = (folder / "gate.json").read_bytes()
    gate(folder, policy)
    assert (folder / "gate.json").read_bytes() == first


def test_another_system_can_be_judged(tmp_path):
    folder = counted(tmp_path / "report")
    policy = policy_file(tmp_path, max_package_mb=2)
    assert gate(folder, policy, system="today").passed is False
    with pytest.raises(UsageError, match="no system 'nobody'"):
        gate(folder, policy, system="nobody")


def test_two_adapters_ask_for_a_name_and_none_for_one(tmp_path):
    policy = policy_file(tmp_path, max_package_mb=2)
    two = counted(tmp_path / "two", incumbent=None)
    with pytest.raises(UsageError, match="2 adapters: today, picking") as error:
        gate(two, policy)
    assert "--system" in error.value.fix
    none = counted(tmp_path / "none", systems=full_report().systems[:1])
    with pytest.raises(UsageError, match="no adapter"):
        gate(none, policy)


def test_a_report_whose_figures_are_not_its_utterances_is_refused(tmp_path):
    folder = counted(tmp_path / "report")
    policy = policy_file(tmp_path, max_error_rate=0.5)
    honest = json.loads((folder / "report.json").read_text())
    for system, figure, key, value in (
        (2, "wer", "hits", 999), (2, "wer", "rate", 0.01), (0, "wer", "substitutions", 999),
        (2, "cer", "reference_length", 99_999), (2, "cer", "rate", 0.0001),
    ):  # fmt: skip
        forged = json.loads(json.dumps(honest))
        forged["systems"][system][figure][key] = value
        (folder / "report.json").write_text(json.dumps(forged))
        with pytest.raises(IntegrityError, match="not what its utterances say"):
            gate(folder, policy)
    rows = list(read_jsonl(folder / "utterances.jsonl", UtteranceResult))
    (folder / "report.json").write_text(json.dumps(honest))
    write_jsonl(folder / "utterances.jsonl", rows[:-12])
    with pytest.raises(IntegrityError):
        gate(folder, policy)
    assert not (folder / "gate.json").exists()


@pytest.mark.parametrize("name", ["report.json", "utterances.jsonl"])
def test_a_missing_part_is_an_input_error(tmp_path, name):
    folder = counted(tmp_path / "report")
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        gate(folder, policy_file(tmp_path, max_error_rate=0.5))


def test_a_decision_about_another_report_is_refused(tmp_path):
    folder = counted(tmp_path / "report")
    gate(folder, policy_file(tmp_path, max_error_rate=0.5))
    with (folder / "report.json").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match="does not belong") as error:
        read_gate(folder)
    assert error.value.details[0].startswith("report.json: judged was sha256:")


def test_no_decision_is_none(tmp_path):
    assert read_gate(tmp_path) is None


BAD_POLICIES = [
    ("max_eror_rate: 0.2", "unknown rule 'max_eror_rate'; the nearest is max_error_rate"),
    ("improvement: {relative: 0.1}", "the nearest is improvement_over_base"),
    ("max_error_rate: low", "max_error_rate: expected `float | null`"),
    ("max_error_rate: -1", "max_error_rate: expected `float` > 0"),
    ("min_test_speakers: 0", "`int` >= 1"),
    ("improvement_over_base: 0.1", "expected `object | null`"),
    ("improvement_over_base: {relative: 0.1}", "missing required field `probability`"),
    ("improvement_over_base: {relative: 0.1, probability: 95}", "<= 1"),
    ("improvement_over_base: {relative: 0.1, probability: 0.9, p: 1}", "unknown field `p`"),
    ("max_error_rate: .nan", "max_error_rate"),
    ("max_error_rate: null", "nothing is asked"),
    ("", "found nothing"),
    ("- max_error_rate", "found a list"),
    ("a: [", "not YAML"),
    ("1: 2", "unknown rule '1'"),
]


@pytest.mark.parametrize(("text", "says"), BAD_POLICIES)
def test_a_policy_that_cannot_be_used_is_a_usage_error(tmp_path, text, says):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        read_policy(tmp_path / "p.yaml")
    assert says in error.value.problem


def test_all_faults_of_a_policy_are_named_at_once(tmp_path):
    path = policy_file(tmp_path, max_error_rate=-1, min_hours=3, max_package_mb="x")
    with pytest.raises(UsageError) as error:
        read_policy(path)
    assert len(error.value.details) == 2
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    for missing in ("b.yaml", "none.yaml"):
        with pytest.raises(UsageError, match=missing):
            read_policy(tmp_path / missing)


def test_the_template_explains_every_rule_and_is_valid():
    path = shipped.templates() / "policy.yaml"
    tree = yaml.safe_load(path.read_text())
    assert list(tree) == [field.name for field in msgspec.structs.fields(Policy)]
    assert read_policy(path).content.max_error_rate == 0.3
    lines = path.read_text().splitlines()
    bare = [
        line
        for before, line in pairwise(lines)
        if line[:1].isalpha() and not before.startswith("#")
    ]
    assert bare == ["min_test_speakers: 8"]  # explained together with the hours
