from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.models import FAMILIES, tiny_base
from tests.train.conftest import quick
from tests.train.tones import department, relabel
from tpactl.adapters import store
from tpactl.bases.load import load_base
from tpactl.errors import InputError, IntegrityError, UsageError
from tpactl.formats.run import Event, Run
from tpactl.train import trained as trained_parts
from tpactl.train.settings import read
from tpactl.train.train import train


def events_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def test_an_adapter_learns_an_accent(taught, accent, tmp_path):
    record = train(accent, quick(taught), tmp_path / "run")
    assert record.base_dev_wer > 0.7
    assert record.best_dev_wer < record.base_dev_wer - 0.2
    assert record.cost.trained_parameters < 0.5 * record.cost.base_parameters


def test_the_record_tells_data_base_cost_and_speakers(taught, accent, tmp_path):
    record = train(accent, quick(taught, "training.max_steps=3"), tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.record == record
    base = load_base(str(taught))
    assert record.base_digest == base.identity.digest
    assert record.data_digest.startswith("sha256:")
    assert record.train_speakers == ["speaker-0", "speaker-1", "speaker-2"]
    assert len(record.train_audio_digests) == 24
    cost = record.cost
    assert cost.trained_parameters == cost.adapter_parameters + cost.head_parameters
    assert cost.steps == 3
    assert cost.peak_memory_bytes > 10_000_000
    assert 0 < cost.audio_hours_seen < 0.1
    assert record.stopped_by == "steps"


def test_the_saved_adapter_gives_the_best_dev_wer(taught, accent, tmp_path):
    from tpactl.formats.dataset import DataSet
    from tpactl.train.dev import measure
    from tpactl.train.examples import read_split

    record = train(accent, quick(taught), tmp_path / "run")
    base = load_base(str(taught))
    dev, _ = read_split(base, DataSet(accent), "dev", limit_bytes=10**8, drop_unusable=False)
    assert measure(base, dev, batch_s=60).wer == record.base_dev_wer
    store.load(base, tmp_path / "run" / "adapter").activate()
    score = measure(base, dev, batch_s=60)
    assert (score.wer, score.cer) == (record.best_dev_wer, record.best_dev_cer)


@pytest.mark.parametrize("method", ["tpa", "head"])
def test_every_tensor_and_buffer_of_the_base_stays_bit_for_bit(method, taught, accent, monkeypatch):
    seen = {}
    begin = trained_parts.begin

    def watch(base, config):
        seen["base"] = base
        seen["before"] = {k: v.clone() for k, v in base.model.state_dict().items()}
        return begin(base, config)

    monkeypatch.setattr("tpactl.train.train.begin", watch)
    out = accent.parent / f"frozen-{method}"
    train(accent, quick(taught, f"method={method}", "training.max_epochs=4"), out)
    after = seen["base"].model.state_dict()
    assert any("running_var" in name for name in after)
    assert len(after) == len(seen["before"]) > 100
    for name, tensor in seen["before"].items():
        assert torch.equal(tensor, after[name]), name
    assert not any(module.training for module in seen["base"].model.modules())


def test_full_fine_tuning_leaves_batchnorm_statistics_alone_and_moves_all_else(
    taught, accent, tmp_path
):
    config = quick(taught, "method=full", "training.max_epochs=20", "training.dropout=true")
    record = train(accent, config, tmp_path / "run")
    before = load_file(taught / "model.safetensors")
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    buffers = {n for n in before if "running_" in n or "num_batches" in n}
    assert buffers
    assert not moved & buffers
    assert moved == before.keys() - buffers
    assert record.cost.trained_parameters == record.cost.base_parameters


def test_a_full_run_is_a_base_that_recognises_as_it_did_in_training(taught, tones):
    base = load_base(str(taught))
    from tpactl.formats.dataset import DataSet
    from tpactl.train.dev import measure
    from tpactl.train.examples import read_split

    dev, _ = read_split(base, DataSet(tones), "dev", limit_bytes=0, drop_unusable=False)
    record = Run(taught.parent).record
    assert measure(base, dev, batch_s=60).wer == record.best_dev_wer
    original = load_base(record.base_ref).identity
    assert base.identity.tokenizer == original.tokenizer
    assert base.identity.feature_extractor == original.feature_extractor
    assert base.identity.config == original.config
    assert base.identity.weights != original.weights


def test_a_run_that_finds_nothing_better_keeps_the_untrained_state(taught, accent, tmp_path):
    still = ("training.learning_rate=1e-12", "training.head_learning_rate=1e-12")
    record = train(accent, quick(taught, *still), tmp_path / "run")
    assert record.best_step == 0
    assert record.best_dev_wer == record.base_dev_wer
    saved = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert all(not t.any() for name, t in saved.items() if ".up." in name)


def test_patience_stops_early_and_the_best_step_is_kept(taught, accent, tmp_path):
    config = quick(taught, "training.max_epochs=200", "training.evaluations=60",
                   "training.patience=3")  # fmt: skip
    record = train(accent, config, tmp_path / "run")
    measured = [e for e in events_of(tmp_path / "run") if e["kind"] == "dev"]
    assert record.stopped_by == "patience"
    assert record.cost.steps < 400
    assert [e["best"] for e in measured[-4:]] == [True, False, False, False]
    best = min(measured, key=lambda e: (e["dev_wer"], e["dev_cer"], e["step"]))
    assert (record.best_step, record.best_dev_wer) == (best["step"], best["dev_wer"])


def test_a_training_that_gets_no_better_goes_on_to_its_end_by_default(taught, accent, tmp_path):
    still = ("training.learning_rate=1e-12", "training.head_learning_rate=1e-12")
    config = quick(taught, *still, "training.max_epochs=10", "training.evaluations=10")
    record = train(accent, config, tmp_path / "run")
    assert (record.stopped_by, record.cost.epochs, record.best_step) == ("epochs", 10, 0)


def test_the_resolved_run_file_gives_the_same_weights_bit_for_bit(taught, accent, tmp_path):
    config = quick(taught, "training.max_epochs=3", "training.spec_augment=true",
                   "training.speed_perturbation=true", "adapter.dropout=0.1",
                   "training.seed=7")  # fmt: skip
    first = train(accent, config, tmp_path / "first")
    again = read(tmp_path / "first" / "run.yaml")
    assert again == first.config
    torch.manual_seed(99)
    train(Path(again.data), again, tmp_path / "second")
    weights = [
        (tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes()
        for name in ("first", "second")
    ]
    assert weights[0] == weights[1]
    other = read(tmp_path / "first" / "run.yaml", {"training.seed": 8})
    train(accent, other, tmp_path / "third")
    third = (tmp_path / "third" / "adapter" / "adapter_model.safetensors").read_bytes()
    assert third != weights[0]


def test_training_leaves_the_callers_random_state_alone(taught, accent, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(accent, quick(taught, "training.max_steps=1"), tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_features_beyond_the_limit_are_made_again_with_the_same_result(taught, accent, tmp_path):
    for name, limit in (("kept", 100), ("again", 0)):
        config = quick(taught, "training.max_epochs=2", f"training.features_mb={limit}")
        train(accent, config, tmp_path / name)
    kept, again = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors")
        for name in ("kept", "again")
    )
    assert len(kept) == 3 * 2 * 4 + 2
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_time_limit_ends_the_schedule_in_time(taught, accent, tmp_path):
    rates = []
    config = quick(taught, "training.max_epochs=1000", "training.max_minutes=0.02")
    record = train(
        accent, config, tmp_path / "run", on_event=lambda e, p: rates.append(e.learning_rate)
    )
    assert record.stopped_by == "minutes"
    assert record.cost.seconds < 6
    given = [rate for rate in rates if rate is not None]
    assert given[-1] < 0.1 * max(given)


def test_events_stream_to_the_file_and_to_the_callback(taught, accent, tmp_path):
    told: list[Event] = []
    plans = set()

    def listen(event, plan):
        lines = (tmp_path / "run.unfinished" / "events.jsonl").read_text().splitlines()
        told.append(event)
        plans.add((plan.total_steps, plan.trained_parameters))
        assert len(lines) == len(told)

    record = train(
        accent, quick(taught, "training.max_epochs=3"), tmp_path / "run", on_event=listen
    )
    kinds = [event.kind for event in told]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert kinds.count("step") == record.cost.steps
    assert plans == {(record.cost.steps, record.cost.trained_parameters)}
    assert [e["kind"] for e in events_of(tmp_path / "run")] == kinds


def test_utterances_that_cannot_teach_are_left_out_of_training_only(taught, tmp_path):
    data = department(
        tmp_path / "data",
        texts={"train": ["a b", "ab d", "123", "dab"], "dev": ["a b", "d d", "7"]},
    )
    relabel(data, "train-3", "a" * 40)
    plans = []
    train(data, quick(taught, "training.max_steps=1"), tmp_path / "run",
          on_event=lambda e, p: plans.append(p))  # fmt: skip
    notes = [e["message"] for e in events_of(tmp_path / "run") if e["kind"] == "note"]
    assert plans[0].train_utterances == 2
    assert plans[0].dev_utterances == 3
    assert any("1 utterances with no character" in note and "train-2" in note for note in notes)
    assert any("1 utterances too short" in note and "train-3" in note for note in notes)
    assert any("cannot write 1 2 3" in note for note in notes)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_an_empty_split_is_refused_by_name(split, taught, tmp_path):
    data = department(tmp_path / "data", **{split: 0})
    with pytest.raises(InputError, match=f"the {split} split has no utterances"):
        train(data, quick(taught), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_transcripts_in_another_script_are_refused(taught, tmp_path):
    data = department(tmp_path / "data", texts={"train": ["ж", "д д"]})
    with pytest.raises(InputError, match="no utterance can be learnt from"):
        train(data, quick(taught), tmp_path / "run")


def test_a_loss_that_explodes_says_which_rate_to_try(tmp_path, accent):
    base = tiny_base(tmp_path / "base")
    with pytest.raises(InputError, match=r"NaN or infinite at step \d+") as caught:
        train(accent, quick(base, "training.learning_rate=1e30", "method=full"), tmp_path / "run")
    assert "training.learning_rate=2.5e+29" in caught.value.fix
    assert list(tmp_path.iterdir()) == [base]


def test_a_loss_that_explodes_late_keeps_the_best_step(taught, accent, tmp_path, monkeypatch):
    from tpactl.train import loss as losses

    calls = 0

    def poisoned(*arguments):
        nonlocal calls
        calls += 1
        return loss(*arguments) * (float("nan") if calls > 60 else 1.0)

    loss = losses.ctc_loss
    monkeypatch.setattr(losses, "ctc_loss", poisoned)
    record = train(accent, quick(taught), tmp_path / "run")
    assert record.stopped_by == "diverged"
    assert 0 < record.best_step <= 60
    assert record.best_dev_wer < record.base_dev_wer
    assert any("is kept" in e.get("message", "") for e in events_of(tmp_path / "run"))


def test_an_existing_run_is_replaced_only_by_force_and_nothing_else_ever(taught, accent, tmp_path):
    config = quick(taught, "training.max_steps=1")
    out = tmp_path / "run"
    train(accent, config, out)
    with pytest.raises(InputError, match="exists already") as caught:
        train(accent, config, out)
    assert "--force" in caught.value.fix
    train(accent, quick(taught, "training.max_steps=2"), out, force=True)
    assert Run(out).record.cost.steps == 2
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "cat.jpg").write_text("meow")
    with pytest.raises(InputError, match="is no run"):
        train(accent, config, precious, force=True)
    assert (precious / "cat.jpg").exists()


def test_a_block_the_base_lacks_is_a_usage_error_and_leaves_nothing(taught, accent, tmp_path):
    with pytest.raises(UsageError, match="blocks 0 to 2"):
        train(accent, quick(taught, "adapter.blocks=[0, 7]"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["tpa", "full"])
@pytest.mark.parametrize("family", FAMILIES[1:])
def test_every_family_trains(family, method, accent, tmp_path):
    base = tiny_base(tmp_path / "base", family)
    config = quick(base, f"method={method}", "training.max_steps=2", "training.spec_augment=true")
    record = train(accent, config, tmp_path / "run")
    assert record.cost.steps == 2
    assert all(e["loss"] > 0 for e in events_of(tmp_path / "run") if e["kind"] == "step")


def test_a_data_set_changed_by_hand_is_refused(taught, tmp_path):
    data = department(tmp_path / "data")
    lines = (data / "train.jsonl").read_text()
    (data / "train.jsonl").write_text(lines.replace('"text": "', '"text": "b', 1))
    with pytest.raises(IntegrityError, match="not those that dataset"):
        train(data, quick(taught), tmp_path / "run")


def test_bf16_computation_keeps_trained_tensors_in_float32(taught, accent, tmp_path):
    config = quick(taught, "precision=bf16", "training.max_epochs=20")
    record = train(accent, config, tmp_path / "run")
    saved = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert record.config.precision == "bf16"
    assert record.best_dev_wer < record.base_dev_wer
    # A second training in the same process may want the other precision.
    assert train(accent, quick(taught, "training.max_steps=1"), tmp_path / "next").cost.steps == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["tpa", "full"])
def test_a_gpu_trains_in_bf16_and_reports_its_own_memory(method, taught, accent, tmp_path):
    config = quick(taught, "device=cuda", f"method={method}", "training.spec_augment=true")
    record = train(accent, config, tmp_path / "run")
    assert record.config.precision == "bf16"
    assert record.best_dev_wer < record.base_dev_wer - 0.1
    assert record.cost.peak_memory_bytes == torch.cuda.max_memory_reserved()
    assert len([e for e in events_of(tmp_path / "run") if e["kind"] == "step"]) == record.cost.steps
