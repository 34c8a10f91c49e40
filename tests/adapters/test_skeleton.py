"""The skeleton of a method, filled in as its comments say, is a method that trains."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from adapters.cases import logits, steps

from tpactl import shipped
from tpactl.adapters import methods, store
from tpactl.adapters.attach import activate, attach
from tpactl.formats.adapter import TPASettings

FILLED = [
    "self.gain = nn.Parameter(torch.zeros(d_model))",
    "return output * (1 + self.gain.to(output.dtype))",
]


@pytest.fixture
def gain(tmp_path, monkeypatch):
    """A method of the name ``gain``, made from the skeleton."""
    text = (shipped.templates() / "method.py").read_text()
    filled = iter(FILLED)
    code, places = re.subn(r"^( +)\.\.\.$", lambda m: m[1] + next(filled), text, flags=re.M)
    assert places == len(FILLED)
    (tmp_path / "gain.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    registration = re.search(r"^    register\(.*?^    \)$", text, flags=re.M | re.S)
    lines = registration[0].replace("tpactl.adapters.NAME", "gain").replace("NAME", "gain")
    exec("\n".join(line[4:] for line in lines.splitlines()), vars(methods))
    yield "gain"
    del methods.METHODS["gain"]
    sys.modules.pop("gain", None)


def test_filled_in_and_registered_it_trains_and_is_stored(base, features, tmp_path, gain):
    before = logits(base, features)
    adapter = attach(base, gain, TPASettings(blocks="upper-half"))
    assert torch.equal(logits(base, features), before)
    assert (adapter.settings.bottleneck_dim, adapter.block_indices) == (16, [2])
    assert adapter.adapter_parameters == 2 * base.d_model
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.05)
    steps(base, features, adapter, optimiser, 3, seed=0)
    heard = logits(base, features)
    assert not torch.equal(heard, before)
    store.save(adapter, tmp_path / "adapter")
    activate(base, None)
    assert torch.equal(logits(base, features), before)
    activate(base, store.load(base, tmp_path / "adapter"))
    assert torch.equal(logits(base, features), heard)
