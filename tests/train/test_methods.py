"""Every method in the same loop, the same run folder and the same package."""

from __future__ import annotations

import pytest

from tests.train.conftest import quick
from tpactl.adapters import store
from tpactl.adapters.methods import METHODS
from tpactl.bases.load import load_base
from tpactl.errors import UsageError
from tpactl.formats.run import Run
from tpactl.package.build import build
from tpactl.package.read import open_package
from tpactl.package.verify import verify
from tpactl.train.settings import read
from tpactl.train.train import train

FEW = (
    "training.max_epochs=8",
    "training.evaluations=8",
    "training.learning_rate=3e-2",
    "training.head_learning_rate=2e-2",
)


@pytest.fixture(scope="module")
def base(taught):
    return load_base(str(taught))


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_is_packaged_and_verified(accent, base, tmp_path, method):
    record = train(accent, quick(base.path, f"method={method}", *FEW), tmp_path / "run")
    assert record.config.method == method
    assert record.best_step > 0
    section = METHODS[method].section
    assert section is None or None not in vars_of(getattr(record.config, section))
    assert record.cost.trained_parameters == (
        record.cost.adapter_parameters + record.cost.head_parameters
    )
    run = Run(tmp_path / "run")
    adapter = store.load(base, run.adapter_folder)
    assert adapter.num_parameters == record.cost.trained_parameters
    if method in ("lora", "dora", "ia3"):
        # PEFT draws its own numbers: the run's own file gives the same bits all the same.
        again = train(accent, read(tmp_path / "run" / "run.yaml"), tmp_path / "again")
        assert again.config == record.config
        weights = "adapter/adapter_model.safetensors"
        assert (tmp_path / "run" / weights).read_bytes() == (
            tmp_path / "again" / weights
        ).read_bytes()
    file = tmp_path / "adapter.tpa"
    build(tmp_path / "run", name="tones/high", version="1.0.0", out=file, base=base)
    package = open_package(file)
    assert package.config.peft_type == METHODS[method].peft_type
    verified = verify(file, str(base.path))
    assert verified.canary is not None
    assert verified.canary.passed
    assert verified.canary.hears_the_adapter


def vars_of(section):
    return [getattr(section, key) for key in section.__struct_fields__]


def test_the_decoder_is_trained_as_it_is_said_in_the_run_file(accent, base, tmp_path):
    decoder = ["head", f"{base.blocks[2].path}.norm_out"]
    listed = f"decoder=[{', '.join(decoder)}]"
    record = train(accent, quick(base.path, listed, *FEW), tmp_path / "run")
    assert record.config.decoder == decoder
    stored = store.read_config(tmp_path / "run" / "adapter")
    assert stored.modules_to_save == ["ctc_head", decoder[1]]
    build(tmp_path / "run", name="tones/high", version="1.0.0", out=tmp_path / "x.tpa", base=base)
    assert "2 decoder modules" in open_package(tmp_path / "x.tpa").card


def test_a_decoder_path_that_is_none_stops_the_training_and_leaves_nothing(accent, base, tmp_path):
    with pytest.raises(UsageError, match="the nearest are ctc_head"):
        train(accent, quick(base.path, "decoder=[ctc_haed]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
