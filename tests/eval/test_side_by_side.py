"""On a CPU of several cores batches are heard side by side, each by a twin of the model."""

from __future__ import annotations

import threading

import pytest
import torch

from tests.eval.test_resume import said
from tests.models import FAMILIES, tiny_base
from tpactl.adapters.attach import activate, attach
from tpactl.bases import side_by_side
from tpactl.bases.load import load_base, twin
from tpactl.errors import IntegrityError
from tpactl.eval import hear as hear_file
from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.systems import system_of_run
from tpactl.eval.turns import Turns
from tpactl.formats.run import unfinished


@pytest.fixture
def two_workers(monkeypatch):
    """As on two cores, but for torch's own threads."""
    monkeypatch.setattr(side_by_side, "twins", lambda base: [base, twin(base)])


@pytest.fixture
def small_batches(monkeypatch):
    plain = hear_file._plan

    def plan(turns, condition):
        return [b[n : n + 2] for b in plain(turns, condition) for n in range(0, len(b), 2)]

    monkeypatch.setattr(hear_file, "_plan", plan)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_twin_shares_every_tensor_and_no_module(family, tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base", family)))
    other = twin(base)
    for attribute in ("named_parameters", "named_buffers"):
        mine, theirs = (
            dict(getattr(base.model, attribute)()),
            dict(getattr(other.model, attribute)()),
        )
        assert len(mine) == len(theirs)
        assert all(mine[name] is theirs[name] for name in mine)
    assert not set(map(id, base.model.modules())) & set(map(id, other.model.modules()))
    assert other.identity is base.identity
    attach(base, "tpa", name="loud")
    assert other.active_adapter is None
    with pytest.raises(ValueError, match="adapter is in place"):
        twin(base)
    activate(base, None)


def test_two_hear_what_one_hears(room, two_workers, small_batches, monkeypatch):
    seen: dict[Turns, set[int]] = {}
    take = Turns.take

    def noting(self, features, indices=()):
        seen.setdefault(self, set()).add(threading.get_ident())
        return take(self, features, indices)

    systems = [system_of_run(room.tpa, "tpa"), system_of_run(room.full, "full")]
    plan = Plan(normaliser="none", slice_by=("snr",), single=0)
    monkeypatch.setattr(Turns, "take", noting)
    together = compare(room.data, "test", str(room.base), systems, plan=plan)
    assert len(seen) == 4, "two models, each with a twin"
    monkeypatch.undo()
    alone = compare(room.data, "test", str(room.base), systems, plan=plan)
    assert said(together) == said(alone)


def test_one_that_was_stopped_goes_on(room, two_workers, small_batches, tmp_path):
    out = tmp_path / "report"
    plan = Plan(normaliser="none", single=0)
    systems = [system_of_run(room.tpa, "tpa")]

    def stop(stage, done, total):
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(room.data, "test", str(room.base), systems, out, plan=plan, on_progress=stop)
    heard = (unfinished(out) / "heard.jsonl").read_text().splitlines()
    assert len(heard) == 3
    resumed = compare(room.data, "test", str(room.base), systems, out, plan=plan, resume=True)
    assert said(resumed) == said(compare(room.data, "test", str(room.base), systems, plan=plan))


def test_a_fault_of_one_batch_is_told(data, room, two_workers, small_batches):
    first = sorted((data / "audio").iterdir())[0]
    first.write_bytes(sorted((data / "audio").iterdir())[1].read_bytes())
    with pytest.raises(IntegrityError, match=first.name):
        compare(data, "test", str(room.base))


def test_each_core_of_a_cpu_has_a_worker_with_its_share_of_threads(tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base")))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        workers = side_by_side.twins(base)
        shares = side_by_side.side_by_side(
            workers, lambda worker, item: (item, torch.get_num_threads()), range(7)
        )
        assert list(shares) == [(item, 1) for item in range(7)]
        assert len(workers) == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
