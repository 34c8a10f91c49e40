"""Whole searches on tones: what they find, what they keep, and what no kill can change."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest
from msgspec.structs import replace

from tests.flows.search.conftest import SPACE, around, outline, space_file
from tests.train.test_resume import weights
from tests.train.tones import relabel
from tpactl.bases.load import load_base
from tpactl.errors import InputError, UsageError
from tpactl.flows.search.budget import Limits, seconds_of
from tpactl.flows.search.picture import front
from tpactl.flows.search.search import search
from tpactl.flows.search.speakers import part
from tpactl.formats.dataset import DataSet
from tpactl.formats.run import Run
from tpactl.formats.search import DEFAULT, RECORD, read_search, trial_folder
from tpactl.train.reading import read_data
from tpactl.train.settings import read
from tpactl.train.train import train

RATE = "training.learning_rate"
STILL = (f"{RATE}=1e-12", "training.head_learning_rate=1e-12")


class Interrupt:
    """A watcher that presses Ctrl-C at its so-many-th call."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        pass


def test_the_default_runs_to_its_end_and_few_others_do(found):
    record, out = found
    default = record.trials[DEFAULT]
    assert (default.settings, default.state, default.progress) == ({}, "finished", 1.0)
    assert len(record.trials) == 6
    assert {t.state for t in record.trials[1:]} == {"waiting", "finished"}
    assert sum(t.state == "finished" for t in record.trials) < 5
    for trial in record.trials:
        assert (trial_folder(out, trial.number) / "run.json").is_file() == (
            trial.state == "finished"
        )


def test_the_best_by_steering_is_never_worse_than_the_default(found):
    record, _ = found
    assert record.confirmation is not None
    winner = record.trials[record.confirmation.trial]
    assert winner.scores[-1].rank <= record.trials[DEFAULT].scores[-1].rank
    rate = record.confirmation.rate
    assert record.best == (winner.number if record.confirmation.is_confirmed else DEFAULT)
    if winner.number != DEFAULT:
        assert record.confirmation.is_confirmed == (rate("found") <= rate("default"))


def test_no_speaker_steers_and_confirms(found, accent):
    record, out = found
    assert not set(record.steering) & set(record.confirming)
    data = DataSet(out / "data")
    assert {r.speaker for r in data.utterances("dev")} == set(record.steering)
    assert {r.speaker for r in data.utterances("test")} == set(record.confirming)
    assert Run(trial_folder(out, DEFAULT)).record.data_digest == data.card.digest


def test_a_trial_that_was_promoted_is_the_training_it_would_have_been_alone(found, tmp_path):
    record, out = found
    promoted = [t for t in record.trials[1:] if t.state == "finished"]
    assert promoted
    run = trial_folder(out, promoted[-1].number)
    config = Run(run).record.config
    training = replace(config.training, cache_dir=str(tmp_path / "prefix"))
    alone = train(out / "data", replace(config, training=training), tmp_path / "alone")
    assert alone.best_step == Run(run).record.best_step
    assert weights(tmp_path / "alone") == weights(run)


def test_trials_of_one_cut_share_a_cache_which_is_gone_in_the_end(found):
    record, out = found
    cached = [t for t in record.trials if t.cached_prefix]
    assert cached
    assert all(t.settings["adapter.blocks"] == [2] for t in cached)
    assert not record.trials[DEFAULT].cached_prefix
    made = [
        line
        for trial in cached
        for events in trial_folder(out, trial.number).parent.glob(
            f"{trial.number:04}*/events.jsonl"
        )
        for line in events.read_text().splitlines()
        if '"note"' in line and " takes " in line
    ]
    # One for each way to augment.
    assert len(made) == len({t.settings.get("training.spec_augment", False) for t in cached})
    assert not (out / "prefix").exists()


def test_best_yaml_trains_on_the_whole_data_set(found, accent, tmp_path, tpactl):
    record, out = found
    config = read(out / "best.yaml")
    assert config.data == str(accent)
    assert config.training.cache_dir is None
    for key, value in record.trials[record.best].settings.items():
        section, _, name = key.partition(".")
        assert getattr(getattr(config, section), name) == value
    trained = tpactl(
        "train",
        "--config",
        out / "best.yaml",
        "--max-steps",
        2,
        "--out",
        tmp_path / "run",
        "--json",
    )
    assert trained.exit_code == 0, trained.err
    assert trained.json["trained_parameters"] == record.trials[record.best].trained_parameters


def test_table_and_picture_show_every_trial(found):
    record, out = found
    table = (out / "trials.md").read_text()
    assert table.count("\n| ") == 1 + len(record.trials) + 1 + len(record.confirmation.rates)
    assert f"| {record.best} (best) |" in table
    assert (out / "trials.png").read_bytes()[:4] == b"\x89PNG"
    kept = front(record.trials)
    assert kept
    for trial in (t for t in record.trials if t.state == "finished"):
        assert any(
            k.trained_parameters <= trial.trained_parameters
            and k.scores[-1].wer <= trial.scores[-1].wer
            for k in kept
        )


@pytest.mark.parametrize("after", [5, 60])
def test_after_ctrl_c_the_same_search_goes_on(after, found, taught, accent, tmp_path):
    space = space_file(tmp_path, SPACE)
    config, out = around(taught, accent), tmp_path / "search"
    with pytest.raises(KeyboardInterrupt):
        search(config, out, Limits(trials=6), space=space, watcher=Interrupt(after))
    left = read_search(out)
    assert out.exists() == (left is not None)
    assert left is None or left.ended_by is None
    assert outline(search(config, out, Limits(trials=6), space=space)) == outline(found[0])


def test_after_kill_9_the_same_search_goes_on(found, taught, accent, tmp_path):
    space = space_file(tmp_path, SPACE)
    config, out = around(taught, accent), tmp_path / "search"
    for trials in (0, 3):
        child = os.fork()
        if child == 0:
            try:
                search(config, out, Limits(trials=6), space=space)
            finally:
                os._exit(0)
        deadline = time.monotonic() + 60
        while len((read_search(out) if (out / RECORD).exists() else found[0]).trials) != trials + 1:
            assert time.monotonic() < deadline
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it was killed"
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert outline(search(config, out, Limits(trials=6), space=space)) == outline(found[0])


def test_the_default_is_kept_where_nothing_is_better(taught, accent, tmp_path):
    space = space_file(tmp_path, {RATE: [1e-12, 1e-11]})
    record = search(around(taught, accent), tmp_path / "s", Limits(trials=3), space=space)
    assert record.best == DEFAULT
    assert record.confirmation is not None
    assert [r.system for r in record.confirmation.rates] == ["base", "default"]
    assert (
        "no trial was better than the default" in (tmp_path / "s" / "trials.md").read_text().lower()
    )
    assert read(tmp_path / "s" / "best.yaml").training.learning_rate == 5e-3


def test_what_is_worse_on_the_confirming_speakers_is_not_kept(taught, accent, tmp_path):
    """The steering speakers mean the accent, the confirming ones what the base hears anyway."""
    data = DataSet(shutil.copytree(accent, tmp_path / "data"))
    base = load_base(str(taught))
    dev = read_data(base, data, 2**30, None).dev
    logits, lengths = base.logits(base.collate(dev.features(range(len(dev)))))
    heard = dict(zip([e.id for e in dev.examples], base.decode(logits, lengths), strict=True))
    for row in part(data).confirming:
        relabel(data.folder, row.id, heard[row.id] or "a")
    space = space_file(tmp_path, {RATE: [5e-3]})
    config = around(taught, data.folder, *STILL)
    out = tmp_path / "search"
    record = search(config, out, Limits(trials=2), space=space)
    assert record.confirmation is not None
    assert record.confirmation.trial == 1
    assert record.trials[1].scores[-1].wer < record.trials[DEFAULT].scores[-1].wer
    assert record.confirmation.rate("found") > record.confirmation.rate("default")
    assert record.best == DEFAULT
    assert read(out / "best.yaml").training.learning_rate == 1e-12
    assert "The default is kept: trial 1 was better by steering" in (out / "trials.md").read_text()


def test_a_trial_that_explodes_is_told_and_the_search_goes_on(taught, accent, tmp_path):
    space = space_file(tmp_path, {RATE: [1e9], "adapter.bottleneck_dim": [4, 8]})
    out = tmp_path / "search"
    record = search(around(taught, accent), out, Limits(trials=3), space=space)
    failed = [trial for trial in record.trials if trial.state == "failed"]
    assert len(failed) == 2
    assert "the loss" in (failed[0].reason or "")
    assert failed[0].reason in (out / "trials.md").read_text()
    assert record.best == DEFAULT


def test_a_budget_ends_it_and_a_larger_one_goes_on(taught, accent, tmp_path):
    space = space_file(tmp_path, SPACE)
    config, out = around(taught, accent, "training.max_epochs=4"), tmp_path / "search"
    short = search(config, out, Limits(budget_s=0.001), space=space)
    assert (len(short.trials), short.trials[0].state, short.ended_by) == (1, "finished", "budget")
    assert read(out / "best.yaml").training.learning_rate == 5e-3
    longer = search(config, out, Limits(budget_s=3600, trials=3), space=space)
    assert (len(longer.trials), longer.ended_by) == (3, "trials")
    assert longer.trials[0] == short.trials[0]
    assert longer.seconds > short.seconds
    again = search(config, out, Limits(trials=3), space=space)
    assert replace(again, seconds=0) == replace(longer, seconds=0)


def test_another_search_is_not_continued(taught, accent, tones, tmp_path):
    space = space_file(tmp_path, {"adapter.bottleneck_dim": [4, 8]})
    out = tmp_path / "search"
    config = around(taught, accent, "training.max_epochs=1")
    search(config, out, Limits(trials=1), space=space)
    before = (out / RECORD).read_bytes()
    space_file(tmp_path, {"adapter.bottleneck_dim": [4, 16]})
    other = around(taught, tones, "training.max_epochs=1", "training.patience=3")
    with pytest.raises(UsageError, match="is another one") as raised:
        search(other, out, Limits(trials=1), space=space)
    told = "\n".join([raised.value.problem, *raised.value.details])
    for expected in ("space adapter.bottleneck_dim: [4, 8]", "training.patience: null", "data: "):
        assert expected in told
    assert (out / RECORD).read_bytes() == before
    anew = search(other, out, Limits(trials=1), space=space, force=True)
    assert anew.config.training.patience == 3


def test_a_folder_that_is_no_search_is_left_alone(taught, accent, tmp_path):
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="is no search"):
        search(around(taught, accent), folder, Limits(trials=2), force=True)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_settings_that_cannot_be_searched_are_refused_and_leave_nothing(taught, accent, tmp_path):
    out = tmp_path / "search"
    for override, said in (
        ("method=full", "no adapter"),
        ("training.max_minutes=1", "max_minutes"),
    ):
        with pytest.raises(UsageError, match=said):
            search(around(taught, accent, override), out, Limits(trials=2))
    with pytest.raises(UsageError, match="needs an end"):
        search(around(taught, accent), out, Limits())
    assert not out.exists()


def test_a_budget_is_a_number_with_a_unit():
    assert [seconds_of(text) for text in ("90s", "20m", "1.5h", " 2H ")] == [90, 1200, 5400, 7200]
    for text in ("20", "m", "-5m", "0s", "1d", "", "20 minutes"):
        with pytest.raises(UsageError, match="is no duration"):
            seconds_of(text)


def test_the_command_prints_the_table_or_one_object(taught, accent, tmp_path, tpactl):
    space = space_file(tmp_path, {"adapter.bottleneck_dim": [4, 8]})
    settings = ["training.max_epochs=1", "training.batch_s=30", "training.spec_augment=false"]
    command = ["search", "--data", accent, "--base", taught, "--device", "cpu", "--space", space]
    command += [word for s in settings for word in ("--set", s)]
    command += ["--trials", 2, "--out", tmp_path / "search"]
    shown = tpactl(*command)
    assert shown.exit_code == 0, shown.err
    assert "(the default)" in shown.out
    assert shown.out.splitlines()[-1] == (
        f"next:  tpactl train --config {tmp_path / 'search' / 'best.yaml'} --out run"
    )
    printed = tpactl(*command, "--json")
    assert printed.json == json.loads((tmp_path / "search" / RECORD).read_text())
    assert tpactl(*command, "--budget", "soon", "--json").json["exit_code"] == 2
