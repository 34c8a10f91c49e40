"""A base is loaded whole, or refused with what is wrong with its directory."""

import pytest
from models import tiny_base

from tpactl.bases.load import load_base
from tpactl.errors import BaseError, IntegrityError


@pytest.fixture
def folder(tmp_path):
    return tiny_base(tmp_path / "base")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[:-1], id="the last byte is missing"),
        pytest.param(lambda content: content[:100], id="cut within the header"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\xff" * len(content), id="other bytes"),
    ],
)
def test_weights_that_are_not_whole_are_an_integrity_error(folder, damage):
    weights = folder / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(IntegrityError, match="not a whole safetensors file"):
        load_base(str(folder))


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "it has no config.json"),
        ("model.safetensors", "holds no weights"),
        ("tokenizer_config.json", "its tokenizer cannot be loaded: none of these files is there"),
        ("preprocessor_config.json", "its feature extractor cannot be loaded: none of these"),
    ],
)
def test_a_missing_file_is_named(folder, missing, said):
    if missing.startswith("tokenizer"):
        for path in [*folder.glob("tokenizer*"), *folder.glob("vocab*")]:
            path.unlink()
    else:
        (folder / missing).unlink()
    with pytest.raises(BaseError, match=said) as raised:
        load_base(str(folder))
    assert raised.value.exit_code == 4


def test_a_configuration_that_is_no_json_is_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(BaseError, match=r"config\.json: cannot be read") as raised:
        load_base(str(folder))
    assert raised.value.fix == "restore the file"


def test_a_tokenizer_without_a_key_it_needs_is_named(folder):
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BaseError, match="its tokenizer cannot be loaded"):
        load_base(str(folder))
