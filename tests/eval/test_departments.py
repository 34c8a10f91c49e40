"""Many departments in one run: each utterance by its own adapter, as if each had its own report."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest
import torch

from tests.eval.builders import write_rows, write_run
from tpactl.adapters import store
from tpactl.adapters.attach import attach
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.errors import InputError, UsageError
from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.shown import notes
from tpactl.eval.systems import system_of_run
from tpactl.formats.adapter import TPASettings
from tpactl.formats.dataset import DataSet
from tpactl.formats.files import read_jsonl
from tpactl.formats.report import UtteranceResult, read_report

WHO = ("dock", "clinic", "", "dock", "desk")


def with_departments(data, who=WHO, column="department"):
    rows = [
        msgspec.structs.replace(
            row, metadata={column: who[n % len(who)]} if who[n % len(who)] else {}
        )
        for n, row in enumerate(DataSet(data).utterances("test"))
    ]
    write_rows(data, rows)
    return data


def mild_run(folder, room, method, settings, seed):
    """Write a run whose adapter lets the base go on hearing words, but others."""
    write_run(folder, room.base, seed=seed)
    shutil.rmtree(folder / "adapter")
    adapter = attach(load_base(str(room.base)), method, settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in adapter.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.003)
    store.save(adapter, folder / "adapter")
    return folder


@pytest.fixture(scope="module")
def runs(room, tmp_path_factory):
    """Runs of three departments; the last is a LoRA, which shares no batch."""
    folder = tmp_path_factory.mktemp("departments")
    return {
        "dock": mild_run(folder / "dock", room, "tpa", TPASettings(bottleneck_dim=4), 5),
        "clinic": mild_run(folder / "clinic", room, "houlsby", TPASettings(bottleneck_dim=6), 6),
        "desk": mild_run(folder / "desk", room, "lora", None, 7),
    }


def systems(runs, *names):
    return [system_of_run(runs[name], name) for name in names or runs]


def heard(folder, system):
    return {
        row.id: row
        for row in read_jsonl(folder / "utterances.jsonl", UtteranceResult)
        if row.system == system
    }


@pytest.fixture(scope="module")
def asked(room, runs, tmp_path_factory):
    """The report of all departments, its folder, and the folder of all systems on everything."""
    folder = tmp_path_factory.mktemp("reports")
    data = with_departments(shutil.copytree(room.data, folder / "data"))
    plan = Plan(normaliser="none", single=4, adapter_column="department")
    report = compare(data, "test", str(room.base), systems(runs), folder / "mixed", plan=plan)
    apart = Plan(normaliser="none", slice_by=("department",))
    compare(data, "test", str(room.base), systems(runs), folder / "apart", plan=apart)
    return report, folder


def test_each_utterance_is_what_its_adapter_alone_hears(asked):
    report, folder = asked
    mixed = heard(folder / "mixed", "departments")
    own = {name: heard(folder / "apart", name) for name in ("base", "dock", "clinic", "desk")}
    assert len(mixed) == 14
    for row in mixed.values():
        expected = own[row.metadata.get("department", "base")][row.id]
        assert row.hypothesis == expected.hypothesis
    # Nothing would be proved by adapters that hear the same, or single letters.
    texts = {name: [row.hypothesis for row in rows.values()] for name, rows in own.items()}
    assert len({tuple(each) for each in texts.values()}) == 4
    assert min(len("".join(each)) for each in texts.values()) > 100
    assert [system.name for system in report.systems] == ["base", "departments"]
    assert heard(folder / "mixed", "base") == {
        key: msgspec.structs.replace(row, seconds=heard(folder / "mixed", "base")[key].seconds)
        for key, row in own["base"].items()
    }


def test_a_departments_slice_has_the_figures_of_its_own_report(asked):
    report, folder = asked
    apart = read_report(folder / "apart")
    (mixed,), (each,) = report.slicings, apart.slicings
    assert [part.value for part in mixed.slices] == ["clinic", "desk", "dock"]
    for part, alone in zip(mixed.slices, each.slices, strict=True):
        (found,) = [r for r in part.results if r.system == "departments"]
        (expected,) = [r for r in alone.results if r.system == part.value]
        assert (found.wer, found.cer) == (expected.wer, expected.cer)
        assert found.wer.reference_length > 0


def test_the_report_names_who_heard_what(asked, runs):
    report, folder = asked
    departments = report.departments
    assert departments.column == "department"
    assert departments.by_base == 3
    assert [(a.name, a.utterances) for a in departments.adapters] == [
        ("dock", 6), ("clinic", 3), ("desk", 2),
    ]  # fmt: skip
    assert [a.alone is not None for a in departments.adapters] == [False, False, True]
    each = systems(runs)
    assert [a.digest for a in departments.adapters] == [system.digest for system in each]
    whole = report.systems[1]
    assert whole.kind == "departments"
    assert whole.size_bytes == sum(system.size_bytes for system in each)
    assert whole.real_time_factor_single > 0
    said = " ".join(notes(report))
    assert "3 utterances name no adapter under department" in said
    assert "desk shared no batch with other adapters (lora: the part" in said
    text = (folder / "mixed" / "report.md").read_text()
    assert "utterances by department: dock (sha256:" in text
    assert read_report(folder / "mixed") == report


def test_departments_go_through_the_base_once(room, runs, tmp_path, monkeypatch):
    data = with_departments(shutil.copytree(room.data, tmp_path / "data"), WHO[:4])
    blocks, real = [], Base.logits

    def counted(self, features):
        blocks.append(len(features.lengths))
        return real(self, features)

    monkeypatch.setattr(Base, "logits", counted)
    plan = Plan(normaliser="none", adapter_column="department")
    report = compare(data, "test", str(room.base), systems(runs), plan=plan)
    # The last two passes are the test: the base's, and one for all departments.
    assert blocks[-2:] == [14, 14]
    assert "No utterance names desk" in " ".join(notes(report))


def test_a_leak_counts_only_what_the_leaking_adapter_heard(room, runs, tmp_path):
    data = with_departments(shutil.copytree(room.data, tmp_path / "data"))
    rows = DataSet(data).utterances("test")
    audio = [rows[0].audio_digest, rows[1].audio_digest]
    leaky = write_run(tmp_path / "dock", room.base, audio=audio, speakers=["spk-0"])
    given = [system_of_run(leaky, "dock"), *systems(runs, "clinic", "desk")]
    plan = Plan(normaliser="none", adapter_column="department")
    (leak,) = compare(data, "test", str(room.base), given, plan=plan).leaks
    assert (leak.system, leak.same_audio) == ("departments", 1)
    by_dock = [row for n, row in enumerate(rows) if WHO[n % 5] == "dock" and row.speaker == "spk-0"]
    assert (leak.utterances, leak.speakers) == (len(by_dock), 1)


def test_an_evaluation_that_was_stopped_goes_on(room, runs, tmp_path, monkeypatch):
    from tpactl.bases import recognise

    data = with_departments(shutil.copytree(room.data, tmp_path / "data"))
    plan = Plan(normaliser="none", adapter_column="department")
    real = recognise.plan_batches
    monkeypatch.setattr(recognise, "plan_batches", lambda d, **k: real(d, **k | {"batch_s": 1.0}))
    whole = compare(data, "test", str(room.base), systems(runs), tmp_path / "whole", plan=plan)

    def stop(stage, done, total):
        if done >= 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        compare(data, "test", str(room.base), systems(runs), out, plan=plan, on_progress=stop)
    with pytest.raises(InputError, match="adapter_column"):
        compare(data, "test", str(room.base), systems(runs), out, resume=True)
    again = compare(data, "test", str(room.base), systems(runs), out, plan=plan, resume=True)
    assert [s.wer for s in again.systems] == [s.wer for s in whole.systems]
    assert again.slicings == whole.slicings


@pytest.mark.parametrize(
    ("who", "column", "given", "error", "said"),
    [
        (("dock", "kitchen", "bar"), "department", ("dock",), InputError,
         "'kitchen' (5 utterances)"),
        (("dock",), "site", ("dock",), UsageError,
         "no column 'department' in the test set; it has: site"),
        (("dock",), "department", (), UsageError, "no adapters for the utterances of department"),
    ],
)  # fmt: skip
def test_who_names_no_adapter_is_refused(room, runs, tmp_path, who, column, given, error, said):
    data = with_departments(shutil.copytree(room.data, tmp_path / "data"), who, column)
    plan = Plan(adapter_column="department")
    each = systems(runs, *given) if given else []
    with pytest.raises(error) as caught:
        compare(data, "test", str(room.base), each, plan=plan)
    assert said in caught.value.problem


def test_a_full_fine_tune_an_incumbent_and_a_general_set_are_refused(room, runs, tmp_path):
    data = with_departments(shutil.copytree(room.data, tmp_path / "data"), ("dock",))
    full = system_of_run(room.full, "full")
    with pytest.raises(UsageError, match="full: a model of its own"):
        compare(data, "test", str(room.base), [full], plan=Plan(adapter_column="department"))
    for plan in (Plan(incumbent="dock"), Plan(general=data)):
        asked = Plan(adapter_column="department", incumbent=plan.incumbent, general=plan.general)
        with pytest.raises(UsageError, match="departments are heard as one") as caught:
            compare(data, "test", str(room.base), systems(runs, "dock"), plan=asked)
        assert "leave out --incumbent" in caught.value.fix


def test_the_command_takes_a_folder_of_packages(tpactl, room, tmp_path):
    from tpactl.package.build import build

    base = load_base(str(room.base))
    packages = tmp_path / "packages"
    packages.mkdir()
    other = write_run(tmp_path / "clinic", room.base, seed=9)
    for name, run in (("dock", room.tpa), ("clinic", other)):
        out = packages / f"{name}.tpa"
        build(run, name=f"{name}/calls", version="1.0.0", out=out, base=base)
    data = with_departments(shutil.copytree(room.data, tmp_path / "data"), ("dock", "clinic"))
    call = (
        "eval", "--data", data, "--package", packages, "--base", room.base,
        "--adapter-column", "department", "--single", "0",
    )  # fmt: skip
    outcome = tpactl(*call, "--out", tmp_path / "report")
    assert outcome.exit_code == 0, outcome.err
    assert "departments" in outcome.out
    assert "tpactl transcribe --manifest FILE" in outcome.out
    page = (tmp_path / "report" / "report.html").read_text()
    assert "each utterance by the adapter of its department" in page
    record = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [a["name"] for a in record["departments"]["adapters"]] == [
        "clinic/calls@1.0.0", "dock/calls@1.0.0",
    ]  # fmt: skip
    with_departments(data, ("dock", "kitchen"))
    refused = tpactl(*call)
    assert (refused.exit_code, refused.out) == (3, "")
    assert "kitchen" in refused.err
