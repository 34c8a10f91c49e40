"""The quickstart's steps on a tiny base and tones: what is made, kept, and measured anew."""

from __future__ import annotations

import json

import pytest

from tests.integration.department import department
from tests.models import tiny_base
from tpactl.errors import InputError
from tpactl.flows.quickstart import REPORT, STEPS, Plan, quickstart
from tpactl.formats.run import RunConfig, TrainingSettings

FAST = TrainingSettings(max_steps=2, evaluations=1, learning_rate=1e-2)
ADAPTER = RunConfig(method="tpa", training=FAST)
FULL = RunConfig(method="full", training=FAST)


class Watcher:
    """Remembers the steps that ended, and which were under way at once."""

    def __init__(self):
        self.steps = []
        self.running = set()
        self.at_once = set()

    def begin(self, name):
        self.running.add(name)

    def progress(self, name, stage, done, total):
        assert name in self.running
        self.at_once.add(frozenset(self.running))

    def note(self, name, text):
        assert name in self.running

    def end(self, step):
        self.running.remove(step.name)
        self.steps.append(step)

    @property
    def kept(self):
        return [step.name for step in self.steps if step.kept]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    source, base = department(folder / "audio", utterances=1), tiny_base(folder / "base")
    return Plan(department=source, base=str(base), adapter=ADAPTER, full=FULL)


@pytest.fixture(scope="module")
def first(plan, tmp_path_factory):
    """Return the folder of a finished quickstart, its result and its steps."""
    folder = tmp_path_factory.mktemp("work")
    watcher = Watcher()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tpactl.train.cost.available_cores", lambda: 2)
        return folder, quickstart(folder, watcher=watcher, plan=plan), watcher


def again(folder, plan):
    watcher = Watcher()
    return quickstart(folder, watcher=watcher, plan=plan), watcher


def test_every_step_is_done_in_order(first):
    _, _, watcher = first
    # Whichever of the trainings is done first.
    done = sorted(watcher.steps[1:3], key=lambda step: step.number)
    steps = [watcher.steps[0], *done, *watcher.steps[3:]]
    assert [step.name for step in steps] == list(STEPS)
    assert [step.number for step in steps] == list(range(1, 8))
    assert watcher.kept == []


def test_both_trainings_are_under_way_at_once(first):
    _, _, watcher = first
    assert {"train tpa", "train full"} in watcher.at_once


def test_the_report_has_its_page(first):
    folder, _, _ = first
    assert "tpa" in (folder / REPORT / "report.html").read_text()


def test_rates_and_sizes_are_those_of_the_files(first):
    folder, result, _ = first
    report = json.loads((folder / REPORT / "report.json").read_text())
    rates = {system["name"]: system["wer"]["rate"] for system in report["systems"]}
    outcome = result.outcome
    assert rates == {
        "base": outcome.base_wer,
        "tpa": outcome.adapter_wer,
        "full": outcome.full_wer,
    }
    assert outcome.package_bytes == (folder / "warehouse-0.1.0.tpa").stat().st_size
    assert outcome.package_path == str((folder / "warehouse-0.1.0.tpa").resolve())
    assert outcome.adapter_params < outcome.full_params
    assert outcome.verified is True


def test_a_second_run_keeps_what_is_valid_and_measures_the_same(first, plan):
    folder, result, _ = first
    package = (folder / "warehouse-0.1.0.tpa").read_bytes()
    second, watcher = again(folder, plan)
    assert watcher.kept == ["prepare", "train tpa", "train full", "eval", "package"]
    assert second.outcome.adapter_wer == result.outcome.adapter_wer
    assert (folder / "warehouse-0.1.0.tpa").read_bytes() == package


def test_a_forged_report_is_measured_again(first, plan):
    folder, result, _ = first
    path = folder / REPORT / "report.json"
    honest = path.read_bytes()
    path.write_bytes(honest.replace(b'"rate": ', b'"rate": 0'))
    second, watcher = again(folder, plan)
    assert "eval" not in watcher.kept
    assert second.outcome.adapter_wer == result.outcome.adapter_wer
    forged = json.loads(path.read_text())["systems"][0]["wer"]["rate"]
    assert forged == result.outcome.base_wer


def test_a_changed_adapter_is_trained_again(first, plan):
    folder, result, _ = first
    weights = folder / "runs/tpa/adapter/adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    second, watcher = again(folder, plan)
    assert "train tpa" not in watcher.kept
    assert "train full" in watcher.kept
    assert weights.read_bytes() == content
    assert second.outcome.adapter_wer == result.outcome.adapter_wer


def test_a_damaged_package_is_made_again(first, plan):
    folder, _, _ = first
    package = folder / "warehouse-0.1.0.tpa"
    package.write_bytes(b"not a package")
    second, watcher = again(folder, plan)
    assert "package" not in watcher.kept
    assert "eval" in watcher.kept
    assert second.outcome.verified is True


def test_other_settings_train_again_and_keep_the_data(first, plan):
    folder, _, _ = first
    other = RunConfig(method="tpa", training=TrainingSettings(max_steps=1, evaluations=1))
    changed = Plan(department=plan.department, base=plan.base, adapter=other, full=plan.full)
    _, watcher = again(folder, changed)
    assert {"prepare", "train full"} <= set(watcher.kept)
    assert "train tpa" not in watcher.kept


def test_a_failed_step_leaves_the_steps_before_it_and_nothing_half_made(plan, tmp_path, first):
    def fails(*_, **__):
        raise InputError("no", "none")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tpactl.package.build.build", fails)
        with pytest.raises(InputError):
            quickstart(tmp_path, watcher=Watcher(), plan=plan)
    assert not (tmp_path / "warehouse-0.1.0.tpa").exists()
    assert not list(tmp_path.glob(".building-*"))
    _, watcher = again(tmp_path, plan)
    assert {"prepare", "train tpa", "train full"} <= set(watcher.kept)


def test_a_training_that_is_done_is_kept_when_the_other_is_stopped(first, plan, tmp_path):
    class Stops(Watcher):
        def end(self, step):
            super().end(step)
            if step.name == "train tpa":
                raise KeyboardInterrupt

    settings = TrainingSettings(max_epochs=1e6, max_steps=20_000)
    endless = RunConfig(method="full", training=settings)
    changed = Plan(department=plan.department, base=plan.base, adapter=plan.adapter, full=endless)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tpactl.train.cost.available_cores", lambda: 2)
        with pytest.raises(KeyboardInterrupt):
            quickstart(tmp_path, watcher=Stops(), plan=changed)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tpa"]
    _, watcher = again(tmp_path, plan)
    assert "train tpa" in watcher.kept
    assert "train full" not in watcher.kept
