"""The starter base is what its card says, and its recipe trains what transformers computes."""

import csv
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import yaml

from tpactl.audio.decode import decode
from tpactl.bases.base import Base
from tpactl.bases.load import load_base
from tpactl.bases.recognise import recognise_features
from tpactl.scoring.wer import count_characters, rate
from tpactl.shipped import example_department, starter_base

RECIPE = Path(__file__).parents[2] / "examples/starter"
MAX_BYTES = 16_000_000
CARD = (starter_base() / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def starter() -> Base:
    return load_base("starter")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import a script of the recipe; its modules, of very general names, are gone afterwards."""
    monkeypatch.syspath_prepend(str(RECIPE))
    names = [path.stem for path in RECIPE.glob("*.py")]
    assert len(names) == 11
    assert not set(names) & set(sys.modules)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def waves() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.05, n).astype(np.float32) for n in (40_000, 25_321, 16_007)]


def test_directory_holds_a_whole_model_within_its_size() -> None:
    files = {path.name: path.stat().st_size for path in starter_base().iterdir()}
    assert sum(files.values()) <= MAX_BYTES
    assert set(files) == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_loads_by_name_as_an_ordinary_parakeet(starter: Base) -> None:
    from transformers import AutoModelForCTC, ParakeetForCTC

    model = AutoModelForCTC.from_pretrained(starter_base(), local_files_only=True)
    assert type(model) is type(starter.model) is ParakeetForCTC
    assert (len(starter.blocks), starter.d_model, starter.vocab_size) == (8, 224, 29)
    assert starter.num_parameters == 7_718_045
    assert starter.dtype is torch.float32


def test_processor_reads_and_writes_the_characters(starter: Base) -> None:
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(starter_base(), local_files_only=True)
    ids = processor.tokenizer("It's a BOOK").input_ids
    assert processor.tokenizer.decode(ids, group_tokens=False) == "it's a book"
    blank = starter.blank_id
    path = [ids[0], ids[0], blank, *(i for letter in ids[1:] for i in (letter, blank))]
    assert processor.decode(path) == "it's a book"
    assert starter.decode_path(path) == "it's a book"


def test_a_padded_batch_equals_single_utterances(starter: Base) -> None:
    batch = starter.features(waves())
    logits, lengths = starter.logits(batch)
    for row, wave in enumerate(waves()):
        alone = starter.features([wave])
        frames = int(batch.lengths[row])
        assert torch.equal(batch.inputs[row, :frames], alone.inputs[0])
        expected, (length,) = starter.logits(alone)
        assert int(lengths[row]) == int(length)
        torch.testing.assert_close(logits[row, :length], expected[0], atol=2e-4, rtol=1e-4)


def test_hears_something_of_the_example_department(starter: Base) -> None:
    folder = example_department()
    with (folder / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"][::20]
    assert len(rows) > 2
    samples = [decode(folder / row["file_name"]).samples for row in rows]
    heard = recognise_features(starter, starter.features(samples))
    said = [starter.prepare_text(row["transcription"]) for row in rows]
    assert 0.0 < rate(count_characters(said, heard)) < 0.6


def test_card_states_its_licence_in_the_front_matter() -> None:
    _, front, body = CARD.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert body.lstrip().startswith("# starter")


@pytest.mark.parametrize(
    "words",
    [
        "espeak-ng",
        "flite",
        "Festival",
        "RHVoice",
        "claims to be Apache-2.0 but the source code is not included",
        "WordNet",
        "LibriSpeech",
        "CC BY 4.0",
        "Panayotov et al. 2015",
        "LJSpeech",
        "public domain",
        "Ito and Johnson 2017",
        "7,718,045",
    ],
)
def test_card_attributes(words: str) -> None:
    assert words in " ".join(CARD.split())


def test_training_computes_what_transformers_computes(
    recipe: Callable[[str], ModuleType],
) -> None:
    comparisons = recipe("check").compare(recipe("architecture").TINY_SHAPE)
    assert len(comparisons) == 5
    assert [found for found in comparisons if not found.holds] == []


def test_recipe_still_builds_the_released_shape(
    recipe: Callable[[str], ModuleType], starter: Base
) -> None:
    architecture = recipe("architecture")
    built = architecture.build_model(architecture.Shape()).state_dict()
    released = starter.model.state_dict()
    assert {name: t.shape for name, t in built.items()} == {n: t.shape for n, t in released.items()}


def test_export_takes_the_common_offset_out_and_keeps_the_logits(
    recipe: Callable[[str], ModuleType],
) -> None:
    architecture, export = recipe("architecture"), recipe("export")
    torch.manual_seed(0)
    model = architecture.build_model(architecture.TINY_SHAPE).eval()
    with torch.no_grad():
        for block in model.encoder.layers:  # a constant offset, as training leaves it
            block.self_attn.relative_k_proj.weight[:, -1] += 5.0
    expected = export.logits(model)
    before, after = export.remove_common_offset(model)
    assert before > 1.0
    assert after < before / 10
    torch.testing.assert_close(export.logits(model), expected, atol=1e-3, rtol=1e-3)
