from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpactl.errors import UsageError
from tpactl.formats.adapter import TPASettings
from tpactl.formats.run import RunConfig, TrainingSettings
from tpactl.train.settings import read, write


def run_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_without_anything_every_key_has_its_default():
    assert read() == RunConfig()


def test_set_wins_over_flags_and_flags_over_the_file(tmp_path):
    file = run_file(tmp_path, "method: head\ntraining: {seed: 1, patience: 9, batch_s: 40}\n")
    config = read(file, {"training.seed": 2, "method": None}, ["training.batch_s=50"])
    assert config.method == "head"
    training = config.training
    assert (training.seed, training.patience, training.batch_s) == (2, 9, 50)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("training.learning_rate=1e-3", 0.001),
        ("training.learning_rate=.002", 0.002),
        ("training.spec_augment=true", True),
        ("training.max_steps=12", 12),
        ("training.max_steps=null", None),
        ("adapter.blocks=[1, 2]", [1, 2]),
        ("adapter.blocks=upper-half", "upper-half"),
        ("adapter.scale=learned", "learned"),
        ("adapter.scale=4", 4),
        ("base=/models/a=b", "/models/a=b"),
    ],
)
def test_set_reads_numbers_words_and_lists(override, value):
    config = read(overrides=[override])
    group, _, name = override.partition("=")[0].rpartition(".")
    assert getattr(getattr(config, group) if group else config, name) == value


def test_a_number_with_an_exponent_in_a_file_is_a_number(tmp_path):
    assert read(run_file(tmp_path, "training:\n  learning_rate: 5e-4\n")).training == (
        TrainingSettings(learning_rate=5e-4)
    )


@pytest.mark.parametrize(
    ("key", "closest"),
    [
        ("adapter.botleneck_dim", "adapter.bottleneck_dim"),
        ("training.lerning_rate", "training.learning_rate"),
        ("learning_rate", "training.learning_rate"),
        ("adapter.learning_rate", "training.learning_rate"),
        ("methd", "method"),
        ("training.epochs", "training.max_epochs"),
    ],
)
def test_an_unknown_key_is_refused_with_the_closest_one(key, closest):
    with pytest.raises(UsageError) as caught:
        read(overrides=[f"{key}=1"])
    assert caught.value.problem == f"--set: unknown key {key}; the closest is {closest}"


def test_all_unknown_keys_of_file_and_command_line_are_gathered(tmp_path):
    file = run_file(tmp_path, "metod: tpa\ntraining: {sed: 1}\nadapter: {blocs: all}\n")
    with pytest.raises(UsageError) as caught:
        read(file, overrides=["training.patiens=3", "nonsense"])
    said = [caught.value.problem, *caught.value.details]
    assert len(said) == 5
    for key in ("metod", "training.sed", "adapter.blocs", "training.patiens", "--set nonsense"):
        assert any(key in line for line in said), key


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method=loar", "method: no method 'loar'; the closest is lora"),
        ("lora.r=4", "method tpa does not read lora.r; its keys begin with adapter."),
        ("decoder=all", "decoder: invalid enum value 'all'; words it takes: head, none"),
        (
            "adapter.sites=[ffn3]",
            "adapter.sites[0]: invalid enum value 'ffn3'; words it takes: ffn1, attention, conv, "
            "ffn2, block",
        ),
        ("training.batch_s=-1", "training.batch_s: expected `float` > 0.0"),
        ("training.patience=0", "training.patience: expected `int` >= 1"),
        ("training.max_steps=many", "training.max_steps: expected `int | null`, got `str`"),
        (
            "training.patience=abc",
            "training.patience: expected `int | null`, got `str`, given 'abc'",
        ),
        ("training.patience=-3", "training.patience: expected `int` >= 1, given -3"),
        (
            "augment.noise_snr_db=[x, 3]",
            "augment.noise_snr_db[0]: expected `float`, got `str`, given 'x'",
        ),
        ("training.warmup_fraction=1", "training.warmup_fraction: expected `float` < 1.0"),
        ("adapter.scale=big", "adapter.scale: invalid enum value 'big'; words it takes: learned"),
        ("training=7", "training: expected `object`, got `int`"),
    ],
)
def test_a_wrong_value_names_key_and_expectation(override, said):
    with pytest.raises(UsageError) as caught:
        read(overrides=[override]) if override[:9] != "training=" else read(None, {"training": 7})
    assert caught.value.problem.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "not YAML"), ("- tpa\n", "found a list"), ("tpa", "found a str")],
)
def test_a_file_that_is_no_run_file_is_refused(text, said, tmp_path):
    with pytest.raises(UsageError, match=said):
        read(run_file(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot be read"):
        read(tmp_path / "nowhere.yaml")


def test_an_empty_file_is_the_defaults(tmp_path):
    assert read(run_file(tmp_path, "# nothing yet\n")) == RunConfig()


positive = st.floats(min_value=1e-12, max_value=1e6, allow_subnormal=False)
configs = st.builds(
    RunConfig,
    method=st.sampled_from(["tpa", "head", "lora"]),
    base=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
    decoder=st.sampled_from(["head", ["head", "encoder.norm"]]),
    adapter=st.builds(
        TPASettings,
        sites=st.sampled_from([None, ("ffn1",), ("block", "conv")]),
        bottleneck_dim=st.integers(1, 512),
        scale=st.one_of(st.just("learned"), positive),
        blocks=st.one_of(st.just("all"), st.lists(st.integers(0, 9))),
    ),
    training=st.builds(
        TrainingSettings,
        learning_rate=st.one_of(st.none(), positive),
        max_epochs=st.one_of(st.none(), positive),
        spec_augment=st.one_of(st.none(), st.booleans()),
        seed=st.integers(0, 2**31),
    ),
)


@given(config=configs)
def test_a_written_run_file_reads_back_equal(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("yaml") / "run.yaml"
    path.write_text(write(config), encoding="utf-8")
    assert read(path) == config
