"""The guide's tables say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpactl.adapters.attach import activate, attach
from tpactl.adapters.methods import METHODS
from tpactl.bases.load import load_base
from tpactl.formats.adapter import Shape

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "methods.md").read_text()


@pytest.fixture(scope="module")
def starter():
    return load_base("starter")


@pytest.mark.parametrize("name", METHODS)
def test_the_guide_counts_what_each_method_trains_on_the_starter(starter, name):
    adapter = attach(starter, name)
    activate(starter, None)
    row = next(line for line in GUIDE.splitlines() if line.startswith(f"| `{name}`"))
    count = adapter.adapter_parameters
    assert f"| {count:,} ({count / starter.num_parameters:.1%})".replace("%", " %") in row or (
        count == 0 and "| 0 |" in row
    )
    assert f"The CTC head has {adapter.head_parameters:,} parameters" in GUIDE


def test_the_guide_shows_the_shapes_of_the_presets():
    presets = {n: m.defaults for n, m in METHODS.items() if isinstance(m.defaults, Shape)}
    assert len(presets) == 4
    for name, shape in presets.items():
        cells = [f"`{name}`", shape.form, ", ".join(shape.sites), shape.activation, shape.scale]
        assert "| " + " | ".join(str(c) for c in cells[:4]) + f" | {shape.scale:g} |" in GUIDE
