"""Beam search as a system of its own, beside the same system decoded greedily."""

from __future__ import annotations

import msgspec
import pytest

from tests.bases.arpa import write_arpa
from tests.eval.builders import heard_by
from tpactl.bases.load import load_base
from tpactl.errors import InputError, UsageError
from tpactl.eval import hear as hear_file
from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.systems import system_of_run
from tpactl.eval.turns import Turns
from tpactl.formats.adapter import WEIGHTS_FILE
from tpactl.formats.dataset import DataSet
from tpactl.formats.decoding import BeamSettings
from tpactl.formats.files import read_jsonl, sha256_of_file
from tpactl.formats.report import UtteranceResult, read_report
from tpactl.formats.run import Run
from tpactl.gate.gate import gate
from tpactl.package.agreement import read_evaluation
from tpactl.shipped import templates

NAMES = ["base", "base + beam", "tpa", "tpa + beam", "full", "full + beam"]


@pytest.fixture(scope="module")
def settings(room, tmp_path_factory) -> BeamSettings:
    folder = tmp_path_factory.mktemp("language")
    words = [word for text in heard_by(room.base, room.data) for word in text.split()]
    (folder / "terms.txt").write_text(f"{words[0]}\nQX-70\n", "utf-8")
    lm = write_arpa(folder / "dock.arpa", [" ".join(words[n : n + 5]) for n in range(len(words))])
    return BeamSettings(lm=lm, words=folder / "terms.txt", width=20)


@pytest.fixture(scope="module")
def searched(room, settings, tmp_path_factory):
    """The report on three systems and their beam searches, and its folder."""
    systems = [system_of_run(room.tpa, "tpa"), system_of_run(room.full, "full")]
    out = tmp_path_factory.mktemp("searched") / "report"
    plan = Plan(normaliser="none", single=3, beam=settings)
    return compare(room.data, "test", str(room.base), systems, out, plan=plan), out


def test_each_system_is_followed_by_its_own_search(searched):
    report, out = searched
    assert [system.name for system in report.systems] == NAMES
    assert [system.decoding for system in report.systems] == ["greedy", "beam"] * 3
    assert [system.kind for system in report.systems] == ["base"] * 2 + ["run"] * 2 + ["full"] * 2
    rows = list(read_jsonl(out / "utterances.jsonl", UtteranceResult))
    assert {row.system for row in rows} == set(NAMES)
    assert read_report(out) == report


def test_the_search_changes_what_is_heard_and_nothing_of_the_greedy_systems(room, searched):
    report, _ = searched
    systems = [system_of_run(room.tpa, "tpa"), system_of_run(room.full, "full")]
    plain = compare(
        room.data, "test", str(room.base), systems, plan=Plan(normaliser="none", single=0)
    )
    assert plain.beam is None
    greedy, beam = report.systems[::2], report.systems[1::2]
    assert [system.wer for system in greedy] == [system.wer for system in plain.systems]
    assert [system.wer for system in greedy] != [system.wer for system in beam]


def test_it_costs_what_greedy_decoding_costs_and_the_search_on_top(searched):
    report, _ = searched
    for greedy, beam in zip(report.systems[::2], report.systems[1::2], strict=True):
        assert beam.size_bytes == (greedy.size_bytes or 0) + report.beam.size_bytes
        assert beam.trained_parameters == greedy.trained_parameters
        assert beam.real_time_factor_single > 0
    assert [cost.system for cost in report.costs.systems] == NAMES


def test_the_report_names_the_files_and_their_digests(searched, settings):
    report, out = searched
    beam = report.beam
    assert beam.lm_digest == sha256_of_file(settings.lm)
    assert beam.words_digest == sha256_of_file(settings.words)
    assert (beam.width, beam.terms, beam.unwritable) == (20, 1, ["QX-70"])
    shown = (out / "report.md").read_text()
    assert beam.lm_digest[:19] in shown
    assert "1 terms of" in shown
    assert "never hears: QX-70" in shown


def test_it_is_tested_against_the_base_and_against_the_same_system_without_it(searched):
    report, _ = searched
    made = {(row.system, row.against): row.role for row in report.comparisons}
    assert made[("tpa + beam", "base")] == made[("base + beam", "base")] == "base"
    assert made[("tpa + beam", "tpa")] == "greedy"
    assert made[("full + beam", "full")] == "full"
    assert len(made) == len(report.comparisons)


def test_the_logits_are_computed_once_for_both(room, settings, monkeypatch):
    from tpactl.bases.beam import BeamDecoder

    base = load_base(str(room.base))
    beam = BeamDecoder(settings).on(base)
    turns = Turns(base, {"base": None}, beam)
    calls = []
    logits = base.logits
    monkeypatch.setattr(base, "logits", lambda features: calls.append(1) or logits(features))
    hear_file.warm_up(turns)
    assert len(calls) == 1
    assert turns.names == ["base", "base + beam"]


def test_an_evaluation_goes_on_only_with_the_same_search(room, settings, tmp_path):
    out = tmp_path / "report"
    plan = Plan(normaliser="none", single=0, beam=settings)

    def stop(stage, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(room.data, "test", str(room.base), out=out, plan=plan, on_progress=stop)
    wider = Plan(normaliser="none", single=0, beam=BeamSettings(settings.lm, settings.words, 21))
    with pytest.raises(InputError, match="beam differ"):
        compare(room.data, "test", str(room.base), out=out, plan=wider, resume=True)
    report = compare(room.data, "test", str(room.base), out=out, plan=plan, resume=True)
    assert len(report.systems) == 2


def test_the_gate_judges_the_adapter_as_it_is_packaged(searched):
    _, out = searched
    decision = gate(out, templates() / "policy.yaml")
    assert decision.system.name == "tpa"
    assert gate(out, templates() / "policy.yaml", system="tpa + beam").system.name == "tpa + beam"


def test_a_package_takes_the_report_without_the_folders_of_this_machine(room, searched, settings):
    run = Run(room.tpa)
    weights = sha256_of_file(run.adapter_folder / WEIGHTS_FILE)
    kept = read_evaluation(searched[1], run.record, weights)
    assert str(settings.lm.parent) not in msgspec.json.encode(kept).decode()
    assert kept.beam.lm_digest == searched[0].beam.lm_digest


def test_a_run_may_not_be_called_as_a_search(room, settings):
    systems = [system_of_run(room.tpa, "base + beam")]
    with pytest.raises(UsageError, match=r"base \+ beam"):
        compare(room.data, "test", str(room.base), systems, plan=Plan(single=0, beam=settings))


def test_recorded_speech_is_heard_otherwise_with_a_model_of_its_words(speech_dir, tmp_path):
    from tpactl.prepare.prepare import prepare

    data = tmp_path / "data"
    prepare(speech_dir / "departments" / "call-desk-alphanumerics" / "dev", data)
    texts = [row.text for row in DataSet(data).utterances("train")]
    lm = write_arpa(tmp_path / "desk.arpa", texts)
    report = compare(
        data, "train", "starter",
        plan=Plan(normaliser="whisper-basic", single=0, beam=BeamSettings(lm=lm)),
    )  # fmt: skip
    greedy, beam = report.systems
    assert beam.wer.rate < 0.9 * greedy.wer.rate
    assert report.comparisons[0].p_value < 0.05
