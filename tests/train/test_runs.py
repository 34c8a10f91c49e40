"""Trainings read back: lists, curves, comparisons, and what other tools are told."""

from __future__ import annotations

import os
import sys
import time
import types

import pytest

from tests.train.conftest import quick
from tpactl.errors import InputError, MachineError
from tpactl.train.history import find
from tpactl.train.train import train

SHORT = ("training.max_epochs=8", "training.evaluations=4")


@pytest.fixture(scope="module")
def runs(taught, accent, tmp_path_factory):
    """A folder with two finished runs, and one killed with a line half written."""
    folder = tmp_path_factory.mktemp("runs")
    train(accent, quick(taught, *SHORT), folder / "first")
    train(accent, quick(taught, *SHORT, "training.seed=5", "method=head"), folder / "second")

    def stop(event, plan):
        if event.kind == "step" and event.step == 6:
            os._exit(9)

    child = os.fork()
    if child == 0:
        train(accent, quick(taught, *SHORT), folder / "third", on_event=stop)
    os.waitpid(child, 0)
    with (folder / "third.unfinished" / "events.jsonl").open("ab") as file:
        file.write(b'{"kind": "step", "ti')
    return folder


def test_ls_marks_what_is_unfinished_and_says_how_to_go_on(tpactl, runs):
    done = tpactl("runs", "ls", runs)
    assert done.exit_code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if line.strip()]
    assert [row[0] for row in rows[2:5]] == ["first", "second", "third"]
    assert rows[2][-1] == "epochs"
    assert rows[4][-1] == "unfinished"
    assert "6/16" in rows[4]
    assert f"next:  tpactl train --out {runs / 'third'} --resume" in done.out


def test_ls_json_holds_the_figures_of_the_records(tpactl, runs):
    listed = tpactl("runs", "ls", runs, "--json").json["runs"]
    assert [row["state"] for row in listed] == ["finished", "finished", "unfinished"]
    first = find([runs / "first"])[0]
    assert listed[0]["best_dev_wer"] == first.record.best_dev_wer
    assert listed[0]["best_step"] == first.record.best_step
    assert listed[0]["base_dev_wer"] == first.record.base_dev_wer
    assert listed[0]["step"] == listed[0]["total_steps"] == first.record.cost.steps == 16
    assert (listed[2]["step"], listed[2]["total_steps"]) == (6, 16)


def test_show_draws_the_curves_and_lists_every_measurement(tpactl, runs):
    done = tpactl("runs", "show", runs / "first")
    assert done.exit_code == 0, done.err
    for title in ("dev WER, %", "loss a label", "┤"):
        assert title in done.out
    table = done.out[done.out.index("epoch") : done.out.index("dev WER, %")]
    steps = [line.split()[0] for line in table.splitlines()[2:] if line.strip()]
    assert steps[1:] == ["0", "4", "8", "12", "16"]
    assert "\x1b" not in done.out


def test_show_finds_an_unfinished_training_by_either_name(tpactl, runs):
    for name in ("third", "third.unfinished"):
        shown = tpactl("runs", "show", runs / name, "--json").json
        assert shown["state"] == "unfinished"
        assert [e["step"] for e in shown["events"] if e["kind"] == "step"] == [1, 2, 3, 4, 5, 6]


def test_compare_names_the_settings_that_differ_and_writes_an_image(tpactl, runs, tmp_path):
    image = tmp_path / "curves.png"
    done = tpactl("runs", "compare", runs / "first", runs / "second", "--png", image, "--json")
    assert done.exit_code == 0, done.err
    differing = done.json["differing_settings"]
    assert differing["method"] == ["tpa", "head"]
    assert differing["training.seed"] == [0, 5]
    assert "training.batch_s" not in differing
    assert image.read_bytes().startswith(b"\x89PNG\r\n")
    shown = tpactl("runs", "compare", runs / "first", runs / "second").out
    assert "training.seed" in shown
    assert "x" in shown


def test_folders_without_runs_are_all_named(tmp_path):
    with pytest.raises(InputError, match="no run is there") as caught:
        find([tmp_path, tmp_path / "nowhere"])
    assert len(caught.value.details) == 1
    assert "nowhere" in caught.value.details[0]


def test_the_current_folder_is_a_place_too(tpactl, runs, monkeypatch):
    monkeypatch.chdir(runs)
    assert len(tpactl("runs", "ls", ".", "--json").json["runs"]) == 3


@pytest.mark.parametrize("package", ["plotext", "matplotlib"])
def test_without_the_extra_the_error_names_the_install(package, runs, tmp_path, monkeypatch):
    from tpactl.train import curves

    monkeypatch.setitem(sys.modules, package, None)
    action = {
        "plotext": lambda: curves.draw(find([runs / "first"]), width=60),
        "matplotlib": lambda: curves.save_png(find([runs / "first"]), tmp_path / "x.png"),
    }[package]
    with pytest.raises(MachineError, match=f"{package}, which is not installed") as caught:
        action()
    assert caught.value.fix == 'pip install "tpactl[plot]"'


def test_tensorboard_gets_every_figure_once_also_after_a_kill(taught, accent, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = quick(taught, *SHORT, "training.log_to=[tensorboard]")

    def stop(event, plan):
        if event.kind == "step" and event.step == 6:
            os._exit(9)

    child = os.fork()
    if child == 0:
        train(accent, config, tmp_path / "run", on_event=stop)
    os.waitpid(child, 0)
    # TensorBoard reads its files by name, which is the second they were begun in.
    time.sleep(1.1)
    train(accent, config, tmp_path / "run", resume=True)
    told = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    told.Reload()
    steps, losses = find([tmp_path / "run"])[0].curve("loss")
    scalars = told.Scalars("loss")
    assert [scalar.step for scalar in scalars] == steps
    assert [scalar.value for scalar in scalars] == pytest.approx(losses, rel=1e-5)
    assert len(told.Scalars("dev_wer")) == 5


def test_mlflow_is_told_through_its_fluent_calls(taught, accent, tmp_path, monkeypatch):
    """Against a stand-in with the signatures of mlflow's fluent API, not against mlflow itself."""
    calls = []

    def start_run(run_id=None, run_name=None):
        calls.append(("start_run", run_id, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="7f"))

    stand_in = types.SimpleNamespace(
        set_experiment=lambda name: calls.append(("set_experiment", name)),
        start_run=start_run,
        log_params=lambda params: calls.append(("log_params", params)),
        log_metric=lambda key, value, step=None: calls.append((key, value, step)),
        end_run=lambda status: calls.append(("end_run", status)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    config = quick(taught, *SHORT, "training.log_to=[mlflow]")

    def interrupt(event, plan):
        if event.kind == "step" and event.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(accent, config, tmp_path / "run", on_event=interrupt)
    assert calls[:2] == [("set_experiment", "tpactl"), ("start_run", None, "run")]
    assert calls[2][1]["training.batch_s"] == 30
    assert calls[-1] == ("end_run", "KILLED")
    train(accent, config, tmp_path / "run", resume=True)
    assert ("start_run", "7f", None) in calls
    assert calls[-1] == ("end_run", "FINISHED")
    assert {call[2] for call in calls if call[0] == "loss"} == set(range(1, 17))


def test_a_tracker_that_is_not_installed_is_told_before_any_work(
    taught, accent, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MachineError, match="mlflow, which is not installed") as caught:
        train(accent, quick(taught, "training.log_to=[mlflow]"), tmp_path / "run")
    assert 'pip install "tpactl[mlflow]"' in caught.value.fix
    assert list(tmp_path.iterdir()) == []
