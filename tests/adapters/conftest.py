"""Every family's tiny base, each test beginning with the base alone."""

from __future__ import annotations

import numpy as np
import pytest
from models import FAMILIES, tiny_base

from tpactl.adapters.attach import activate
from tpactl.bases.load import load_base


@pytest.fixture(scope="package")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("bases")
    return {family: tiny_base(made / family, family) for family in FAMILIES}


@pytest.fixture(scope="package")
def bases(folders):
    return {family: load_base(str(folder)) for family, folder in folders.items()}


@pytest.fixture(params=FAMILIES)
def base(request, bases):
    chosen = bases[request.param]
    activate(chosen, None)
    yield chosen
    activate(chosen, None)


@pytest.fixture
def parakeet(bases):
    activate(bases["parakeet"], None)
    yield bases["parakeet"]
    activate(bases["parakeet"], None)


@pytest.fixture
def features(request):
    base = request.getfixturevalue("base" if "base" in request.fixturenames else "parakeet")
    rng = np.random.default_rng(1)
    return base.features([rng.normal(size=8_000).astype("float32") * 0.1 for _ in range(2)])
