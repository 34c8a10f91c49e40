"""Steps that are computed faster give what the plain ones give."""

from __future__ import annotations

import itertools
import json
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.compilers import nop

from tests.models import CTC_FAMILIES, tiny_base
from tests.train.conftest import quick
from tpactl.adapters.attach import attach
from tpactl.adapters.fast import FastPath
from tpactl.bases.base import Features
from tpactl.bases.load import load_base
from tpactl.errors import UsageError
from tpactl.formats.dataset import DataSet
from tpactl.train.ahead import Ahead
from tpactl.train.batch_shapes import MULTIPLE, BatchShapes
from tpactl.train.compiled import Compiled
from tpactl.train.defaults import resolve
from tpactl.train.faster import round_frozen
from tpactl.train.hearing import Hearing
from tpactl.train.ranks import Ranks
from tpactl.train.reading import read_data
from tpactl.train.schedule import plan_steps
from tpactl.train.shapes import plan_shapes
from tpactl.train.surroundings import look_around
from tpactl.train.train import train


def area(shapes, batches, capture_steps):
    """What is computed, captures included."""
    steps = sum(min(s.area for s in shapes if s.holds(*batch)) for batch in batches)
    return steps + capture_steps * sum(shape.area for shape in shapes)


@pytest.mark.parametrize("capture_steps", [0, 2])
def test_no_other_shapes_take_less(capture_steps):
    draw = np.random.default_rng(3)
    for most in (1, 2, 3):
        batches = [(int(r), int(f) * 8) for r, f in draw.integers(1, 9, (12, 2))]
        shapes = plan_shapes(batches, most, capture_steps)
        assert len(shapes) <= most
        lengths = sorted({frames for _, frames in batches})
        # Every way to cut the lengths into so many runs, each as wide as its widest batch.
        least = min(
            sum(
                max(r for r, f in run) * max(f for r, f in run) * (len(run) + capture_steps)
                for low, high in itertools.pairwise([0, *cuts, lengths[-1]])
                if (run := [(r, f) for r, f in batches if low < f <= high])
            )
            for count in range(most)
            for cuts in itertools.combinations(lengths[:-1], count)
        )
        assert area(shapes, batches, capture_steps) <= least


def test_few_batches_need_few_shapes():
    batches = [(3, 80), (2, 80), (1, 160)]
    assert [(s.rows, s.frames) for s in plan_shapes(batches, 8, 0)] == [(3, 80), (1, 160)]
    # One more capture takes longer than the padding that it saves, unless many steps follow.
    alike = [(3, 80), (3, 88)]
    assert [(s.rows, s.frames) for s in plan_shapes(alike, 8, 5)] == [(3, 88)]
    assert len(plan_shapes(alike * 100, 8, 5)) == 2


def test_every_batch_as_its_epoch_hears_it_fits_a_planned_shape(taught, accent):
    base, data = load_base(str(taught)), DataSet(accent)
    config = quick(taught, "training.speed_perturbation=true", "training.batch_s=10")
    config = resolve(config, hours=0.1, base_parameters=base.num_parameters)
    hearing = Hearing(config, look_around(config.augment))
    heard = read_data(base, data, 0, None).train.augmented(hearing)
    course, _ = plan_steps(heard.durations, config.training)
    batches = BatchShapes(base, heard, config, None, Ranks(0, 1, "cpu"))
    shapes = batches.shapes(course)
    assert len({len(batch) for _, batch in course}) > 1
    assert len({speed for epoch in range(3) for speed in heard.speeds(epoch)}) == 3
    assert {batches.frames_out(shape.frames) % MULTIPLE for shape in shapes} == {0}
    for epoch, batch in course:
        inputs = base.collate(heard.heard(batch, epoch)).inputs
        assert any(shape.holds(*inputs.shape[:2]) for shape in shapes)


def test_what_is_read_ahead_is_what_would_be_read_later():
    readers = []

    def read(step):
        readers.append((step, threading.current_thread() is threading.main_thread()))
        return Features(torch.full((1,), step), torch.tensor([1]))

    ahead = Ahead(read, num_steps=6, depth=2)
    # A training may begin anywhere, and ask for a step again.
    assert [int(ahead.get(step).inputs) for step in (2, 3, 4, 4, 5)] == [2, 3, 4, 4, 5]
    ahead.close()
    assert not any(is_main for _, is_main in readers)
    assert max(step for step, _ in readers) == 5
    at_once = Ahead(read, num_steps=6, depth=0)
    assert int(at_once.get(1).inputs) == 1
    assert readers[-1] == (1, True)


def test_an_error_while_reading_ahead_is_raised_where_the_step_is_asked_for():
    def read(step):
        if step == 1:
            raise ValueError("unreadable")
        return Features(torch.zeros(1), torch.tensor([1]))

    ahead = Ahead(read, num_steps=3, depth=2)
    ahead.get(0)
    with pytest.raises(ValueError, match="unreadable"):
        ahead.get(1)
    ahead.close()


@pytest.mark.parametrize("cached", ["false", "true"])
def test_rewritten_blocks_train_the_same_adapter(cached, taught, accent, tmp_path, monkeypatch):
    settings = [
        "training.max_steps=12",
        "adapter.blocks=upper-half",
        f"training.cached_prefix={cached}",
        f"training.cache_dir={tmp_path / 'prefix'}",
    ]
    plain = train(accent, quick(taught, *settings, "fast=off"), tmp_path / "plain")
    passes = []
    above = FastPath._above
    monkeypatch.setattr(FastPath, "_above", lambda *a: passes.append(1) or above(*a))
    fast = train(accent, quick(taught, *settings), tmp_path / "fast")
    assert len(passes) == 12
    assert fast.best_dev_wer == pytest.approx(plain.best_dev_wer, abs=0.05)
    one, other = (
        load_file(tmp_path / run / "adapter" / "adapter_model.safetensors")
        for run in ("plain", "fast")
    )
    # Frames of a cached prefix are kept in bfloat16, which both read.
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=2e-3, rtol=2e-2)


def test_fast_is_refused_where_nothing_of_it_applies(taught, accent, tmp_path):
    with pytest.raises(UsageError, match="nothing of it applies to houlsby"):
        train(accent, quick(taught, "method=houlsby", "fast=on"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rounding_frozen_weights_changes_nothing_under_autocast(tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base")))
    features = base.features([np.random.default_rng(0).normal(0, 0.1, 9_000).astype("float32")])

    def logits():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return base.logits(features)[0]

    before = logits()
    round_frozen(base.model)
    assert base.model.encoder.layers[0].feed_forward1.linear1.weight.dtype == torch.bfloat16
    assert torch.equal(logits(), before)


def gradients(forward, base, parameters):
    draw = np.random.default_rng(0)
    waves = [draw.normal(0, 0.1, n).astype("float32") for n in (20_000, 30_000)]
    features = base.features(waves)
    logits = forward(features.inputs, features.lengths)
    lengths = base.output_lengths(features.lengths)
    loss = sum(row[:length].pow(2).mean() for row, length in zip(logits, lengths, strict=True))
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def trained_on(base, method):
    if method == "full":
        return list(base.model.requires_grad_(True).parameters())
    adapter = attach(base, method)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return list(adapter.parameters())


@pytest.mark.parametrize(
    ("family", "method"),
    [*((family, "tpa") for family in CTC_FAMILIES), ("parakeet", "full")],
)
def test_compiled_blocks_give_the_same_gradients(family, method, tmp_path):
    torch.compiler.reset()
    counted = torch._dynamo.utils.counters
    counted.clear()
    base = load_base(str(tiny_base(tmp_path / "base", family)))
    parameters = trained_on(base, method)
    expected = gradients(base.forward, base, parameters)
    notes = []
    modules = [block.module for block in base.blocks]
    compiled = Compiled(
        base.forward, modules, parameters, dynamic=True, note=notes.append, backend="aot_eager"
    )
    found = gradients(compiled, base, parameters)
    # Blocks are alike: the first one's input alone needs no gradient.
    assert 1 <= counted["stats"]["unique_graphs"] < len(modules) * 2
    assert not counted["graph_break"]
    assert notes == []
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)
    # Outside a step the blocks are their own again.
    assert not any("forward" in module.__dict__ for module in modules)


def test_a_shape_that_cannot_be_compiled_later_is_computed_as_it_is(tmp_path):
    torch.compiler.reset()
    graphs = []

    def once(graph, inputs):
        graphs.append(graph)
        if len(graphs) > 1:  # one serves all blocks
            raise RuntimeError("no more")
        return graph.forward

    base = load_base(str(tiny_base(tmp_path / "base")))
    notes = []
    modules = [block.module for block in base.blocks]
    compiled = Compiled(base.forward, modules, [], dynamic=False, note=notes.append, backend=once)
    draw = np.random.default_rng(0)
    for samples in (20_000, 40_000, 40_000):
        features = base.features([draw.normal(0, 0.1, samples).astype("float32")])
        with torch.no_grad():
            found = compiled(features.inputs, features.lengths)
            assert torch.equal(found, base.forward(features.inputs, features.lengths))
    assert len(notes) == 1


@pytest.mark.parametrize("late", [False, True])
def test_what_cannot_be_compiled_is_said_and_computed_as_it_is(late, tmp_path):
    torch.compiler.reset()

    def fail(graph, inputs):
        raise RuntimeError("Failed to find C compiler")

    backend = aot_autograd(fw_compiler=nop, bw_compiler=fail) if late else fail
    base = load_base(str(tiny_base(tmp_path / "base")))
    parameters = trained_on(base, "tpa")
    expected = gradients(base.forward, base, parameters)
    notes = []
    modules = [block.module for block in base.blocks]
    compiled = Compiled(
        base.forward, modules, parameters, dynamic=True, note=notes.append, backend=backend
    )
    for _ in range(2):
        found = gradients(compiled, base, parameters)
        assert all(map(torch.equal, found, expected))
    (note,) = notes
    assert note.startswith("blocks cannot be compiled and are computed as they are: ")
    assert "C compiler" in note


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["tpa", "lora", "full"])
def test_captured_steps_train_as_uncaptured_ones_do(method, taught, accent, tmp_path):
    # The base of these tests drops whole layers where it drops anything.
    settings = [f"method={method}", "device=cuda", "training.max_steps=12"]
    settings += ["training.dropout=false"]
    plain = train(accent, quick(taught, *settings, "fast=off"), tmp_path / "plain")
    fast = train(accent, quick(taught, *settings), tmp_path / "fast")
    events = [json.loads(line) for line in (tmp_path / "fast" / "events.jsonl").open()]
    assert any("captured" in (e.get("message") or "") for e in events)
    assert not any("op by op" in (e.get("message") or "") for e in events)
    assert fast.best_dev_wer == pytest.approx(plain.best_dev_wer, abs=0.1)
