"""Verification on a real (tiny, random) base: its identity, the canary, and the commands."""

import json
import shutil

import msgspec
import numpy as np
import pytest
import torch
from models import tiny_base
from package.builders import NAME, VERSION, parts_of, reseal, write_report, write_run_record
from rich.text import Text
from safetensors.numpy import load_file, save_file

from tpactl.adapters import attach, store
from tpactl.bases.load import load_base
from tpactl.cli.app import run as cli
from tpactl.errors import BaseError, InputError, IntegrityError, UsageError
from tpactl.formats.adapter import TPASettings
from tpactl.formats.files import write_json
from tpactl.package import canary
from tpactl.package.build import build
from tpactl.package.read import open_package
from tpactl.package.tensors import deserialise
from tpactl.package.verify import verify


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with ``base``, a trained-looking ``run`` of it, a ``report`` and ``picking.tpa``."""
    folder = tmp_path_factory.mktemp("workplace")
    path = tiny_base(folder / "base")
    base = load_base(str(path))
    adapter = attach.attach(base, "tpa", TPASettings(bottleneck_dim=4))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
    store.save(adapter, folder / "run" / "adapter")
    attach.activate(base, None)
    write_run_record(folder / "run", str(path), base.identity.digest, adapter.num_parameters)
    write_report(folder / "report", folder / "run", base.identity.digest)
    build(
        folder / "run",
        name=NAME,
        version=VERSION,
        out=folder / "picking.tpa",
        base=base,
        evaluation=folder / "report",
    )
    return folder


@pytest.fixture
def other_base(workplace, tmp_path):
    return shutil.copytree(workplace / "base", tmp_path / "other")


def test_the_right_base_matches_and_the_canary_sings(workplace):
    seen = []
    result = verify(workplace / "picking.tpa", str(workplace / "base"), on_check=seen.append)
    assert result.base == "matched"
    assert result.canary is not None
    assert result.canary.max_difference < 1e-4
    assert result.canary.same_path
    # The check has power: without the adapter it would fail.
    assert result.canary.adapter_effect > 100 * canary.TOLERANCE
    assert [check.name for check in seen] == [
        "archive", "digests", "format", "adapter", "base", "canary",
    ]  # fmt: skip


def test_a_trained_head_alone_is_a_package_too(workplace, tmp_path):
    base = load_base(str(workplace / "base"))
    adapter = attach.attach(base, "head", TPASettings())
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.mul_(1.5)
    store.save(adapter, tmp_path / "run" / "adapter")
    attach.activate(base, None)
    write_run_record(
        tmp_path / "run",
        str(base.path),
        base.identity.digest,
        adapter.num_parameters,
        method="head",
    )
    out = tmp_path / "head.tpa"
    made = build(tmp_path / "run", name=NAME, version=VERSION, out=out, base=base).package
    assert made.config.peft_type == "HEAD"
    assert "A trained CTC head for" in made.card
    result = verify(out, str(workplace / "base"))
    assert result.canary.passed
    assert result.canary.hears_the_adapter


def test_an_untrained_adapter_is_packaged_and_said_to_change_nothing(workplace, tmp_path, capsys):
    base = load_base(str(workplace / "base"))
    adapter = attach.attach(base, "tpa", TPASettings(bottleneck_dim=2))
    store.save(adapter, tmp_path / "run" / "adapter")
    attach.activate(base, None)
    record = write_run_record(
        tmp_path / "run", str(base.path), base.identity.digest, adapter.num_parameters
    )
    write_json(tmp_path / "run" / "run.json", msgspec.structs.replace(record, best_step=0))
    out = str(tmp_path / "a.tpa")
    command = ["package", str(tmp_path / "run"), "--name", NAME, "--version", VERSION]
    assert cli([*command, "--out", out]) == 0
    assert "the adapter is untrained" in capsys.readouterr().err
    assert cli(["verify", out, "--base", str(workplace / "base")]) == 0
    assert "the adapter changes nothing" in capsys.readouterr().err
    assert "**Untrained.**" in open_package(tmp_path / "a.tpa").card


def test_the_canarys_path_cannot_change_within_the_tolerance(workplace):
    logits = open_package(workplace / "picking.tpa").canary.logits
    best = np.sort(logits, axis=1)
    assert len(logits) > 10
    assert (best[:, -1] - best[:, -2]).min() > 2 * canary.TOLERANCE


def test_the_waveform_is_the_same_on_every_machine():
    wave = canary.waveform(0)
    assert (wave.dtype, wave.shape) == (np.int16, (24_000,))
    assert wave[[0, 1000, 12_345, 23_999]].tolist() == [-786, 2328, 940, -760]
    assert int(np.abs(wave.astype(int)).sum()) == 49_291_586
    assert np.abs(wave.astype(int)).max() == 8_559


def test_without_a_base_it_says_so(workplace):
    result = verify(workplace / "picking.tpa")
    assert result.base == "not checked"
    assert result.canary is None


def test_the_bytes_do_not_depend_on_threads_or_on_a_second_load(workplace, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        shutil.copytree(workplace / "run", tmp_path / "elsewhere" / "run")
        again = build(
            tmp_path / "elsewhere" / "run",
            name=NAME,
            version=VERSION,
            out=tmp_path / "again.tpa",
            base=load_base(str(workplace / "base")),
            evaluation=workplace / "report",
        )
        assert torch.get_num_threads() == (1 if threads > 1 else 2)
    finally:
        torch.set_num_threads(threads)
    assert again.path.read_bytes() == (workplace / "picking.tpa").read_bytes()


def test_a_package_is_reproduced_where_arithmetic_rounds_otherwise(workplace, tmp_path):
    base = load_base(str(workplace / "base"))

    def rebuild(out, reproduce):
        return build(
            workplace / "run",
            name=NAME,
            version=VERSION,
            out=out,
            base=base,
            evaluation=workplace / "report",
            reproduce=reproduce,
        ).path

    # As another processor would have made it: every logit off by some rounding.
    parts = parts_of((workplace / "picking.tpa").read_bytes())
    _with_canary(parts, lambda waveform, logits: (waveform, logits * np.float32(1.000001)))
    theirs = tmp_path / "theirs.tpa"
    theirs.write_bytes(reseal(parts))
    ours = rebuild(tmp_path / "ours.tpa", theirs)
    assert parts_of(ours.read_bytes())["canary.safetensors"] == parts["canary.safetensors"]
    again = rebuild(tmp_path / "again.tpa", ours)
    assert again.read_bytes() == ours.read_bytes()
    assert open_package(ours).digest != open_package(workplace / "picking.tpa").digest


def test_a_package_of_another_adapter_cannot_be_reproduced(workplace, still, tmp_path):
    with pytest.raises(InputError, match="no package of this run"):
        build(
            workplace / "run",
            name=NAME,
            version=VERSION,
            out=tmp_path / "a.tpa",
            base=load_base(str(workplace / "base")),
            reproduce=still,
        )


def test_the_same_weights_sharded_otherwise_are_the_same_base(workplace, other_base):
    tensors = load_file(other_base / "model.safetensors")
    (other_base / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for shard, part in enumerate([names[::3], names[1::3], names[2::3]]):
        file = f"model-{shard}.safetensors"
        save_file({name: tensors[name] for name in part}, other_base / file)
        weight_map.update(dict.fromkeys(part, file))
    (other_base / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    result = verify(workplace / "picking.tpa", str(other_base))
    assert result.base == "matched"
    assert result.canary.passed


def _change_weight(base):
    tensors = load_file(base / "model.safetensors")
    tensors["ctc_head.bias"] = tensors["ctc_head.bias"] + np.float32(1e-6)
    save_file(tensors, base / "model.safetensors")


def _change_json(name, key, value):
    def change(base):
        content = json.loads((base / name).read_text())
        content[key] = value
        (base / name).write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_change_weight, "weights: 1 of"),
        (_change_json("config.json", "ctc_loss_reduction", "sum"), "config:"),
        (_change_json("tokenizer_config.json", "model_max_length", 77), "tokenizer:"),
        (_change_json("preprocessor_config.json", "preemphasis", 0.5), "feature extractor:"),
    ],
)
def test_the_wrong_base_is_exit_4_and_names_what_differs(
    change, named, workplace, other_base, capsys
):
    change(other_base)
    assert cli(["verify", str(workplace / "picking.tpa"), "--base", str(other_base)]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert "belongs to the base" in lines[0]
    assert len(lines) == 3
    assert lines[1].strip().startswith(named)
    if "weights" in named:
        assert lines[1].endswith("ctc_head.bias")
    assert lines[2].startswith("fix:   ")


def test_another_model_is_another_base(workplace, tmp_path):
    other = tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(BaseError) as caught:
        verify(workplace / "picking.tpa", str(other))
    assert "tensors differ" in caught.value.details[0]


def test_a_damaged_file_is_told_before_a_wrong_base(workplace, tmp_path):
    damaged = bytearray((workplace / "picking.tpa").read_bytes())
    weights = parts_of(bytes(damaged))["adapter_model.safetensors"]
    damaged[damaged.find(weights) + len(weights) // 2] ^= 1
    (tmp_path / "damaged.tpa").write_bytes(damaged)
    with pytest.raises(IntegrityError):
        verify(tmp_path / "damaged.tpa", str(tiny_base(tmp_path / "other", seed=1)))


def _with_canary(parts, change):
    arrays = deserialise(parts["canary.safetensors"], "canary")
    waveform, logits = arrays["waveform"].copy(), arrays["logits"].copy()
    changed = change(waveform, logits)
    waveform, logits = changed if changed is not None else (waveform, logits)
    parts["canary.safetensors"] = canary.Canary(waveform, logits).to_bytes()


def _nudge(waveform, logits):
    logits[3, 5] += 0.0015


def _other_input(waveform, logits):
    waveform[5_000:6_000] = 0


def _fewer_frames(waveform, logits):
    return waveform, logits[:-1]


@pytest.mark.parametrize("change", [_nudge, _other_input, _fewer_frames])
def test_a_canary_that_is_not_reproduced_is_exit_5(change, workplace, as_file, capsys):
    parts = parts_of((workplace / "picking.tpa").read_bytes())
    _with_canary(parts, change)
    path = as_file(reseal(parts))
    assert verify(path).base == "not checked"
    assert cli(["verify", str(path), "--base", str(workplace / "base")]) == 5
    err = capsys.readouterr().err
    assert err.startswith("error: canary")
    if change is _nudge:
        assert "up to 0.0015 away" in err
        assert "(0.001 is allowed)" in err


def test_a_difference_within_the_tolerance_passes(workplace, as_file):
    parts = parts_of((workplace / "picking.tpa").read_bytes())

    def nudge(waveform, logits):
        logits[3, 5] += 0.0009

    _with_canary(parts, nudge)
    result = verify(as_file(reseal(parts)), str(workplace / "base"))
    assert 0.0008 < result.canary.max_difference < 0.001


def test_weights_exchanged_by_somebody_who_fits_every_digest_fail_the_canary(workplace, as_file):
    parts = parts_of((workplace / "picking.tpa").read_bytes())
    weights = bytearray(parts["adapter_model.safetensors"])
    weights[-1] ^= 0x40
    parts["adapter_model.safetensors"] = bytes(weights)
    del parts["evaluation.json"]
    path = as_file(reseal(parts))
    with pytest.raises(IntegrityError):
        verify(path, str(workplace / "base"))


def test_the_published_digest_pins_the_file_even_without_a_base(workplace, as_file):
    published = open_package(workplace / "picking.tpa").digest
    assert verify(workplace / "picking.tpa", digest=published).package.digest == published
    parts = parts_of((workplace / "picking.tpa").read_bytes())
    parts["README.md"] += b"\nApproved.\n"
    forged = as_file(reseal(parts))
    assert verify(forged).package.digest != published
    with pytest.raises(IntegrityError, match=published):
        verify(forged, digest=published)


@pytest.mark.parametrize("digest", ["", "sha256:", "md5:" + "0" * 64, "sha256:" + "A" * 64])
def test_a_digest_that_is_none_is_a_usage_error(digest, workplace):
    with pytest.raises(UsageError, match="--digest"):
        verify(workplace / "picking.tpa", digest=digest)


def test_the_run_is_left_as_it_was(workplace, tmp_path):
    before = {p: p.read_bytes() for p in (workplace / "run").rglob("*") if p.is_file()}
    base = load_base(str(workplace / "base"))
    made = build(workplace / "run", name=NAME, version=VERSION, out=tmp_path / "a.tpa", base=base)
    assert made.package.evaluation is None
    assert before == {p: p.read_bytes() for p in (workplace / "run").rglob("*") if p.is_file()}
    assert base.active_adapter is None


# --- the commands -----------------------------------------------------------------------------


def _plain(text):
    return Text.from_ansi(text).plain


def test_package_verify_and_inspect_as_a_user(workplace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run, base = str(workplace / "run"), str(workplace / "base")
    report = str(workplace / "report")
    assert (
        cli(
            [
                "package",
                run,
                "--name",
                NAME,
                "--version",
                "2.0.0",
                "--out",
                "p.tpa",
                "--eval",
                report,
            ]
        )
        == 0
    )
    out = _plain(capsys.readouterr().out)
    assert "warehouse/picking 2.0.0 -> p.tpa" in out
    assert "adapter_model.safetensors" in out
    assert f"next:  tpactl verify p.tpa --base {base}" in out

    assert cli(["verify", "p.tpa", "--base", base]) == 0
    out = _plain(capsys.readouterr().out)
    assert out.count("✓") == 6
    assert out.splitlines()[-1].startswith("next:  ")
    assert "verified: warehouse/picking 2.0.0" in out
    assert f"next:  tpactl transcribe AUDIO --base {base} --package p.tpa" in out

    assert cli(["inspect", "p.tpa"]) == 0
    out = _plain(capsys.readouterr().out)
    assert "evaluated on 40 utterances" in out
    assert "25.0 (22.7 to 27.8)" in out

    assert cli(["inspect", "p.tpa", "--card"]) == 0
    assert "# warehouse/picking 2.0.0" in capsys.readouterr().out


def test_verify_json(workplace, capsys):
    package, base = str(workplace / "picking.tpa"), str(workplace / "base")
    assert cli(["verify", package, "--base", base, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["verified"] is True
    assert value["digest"] == open_package(workplace / "picking.tpa").digest
    assert (value["name"], value["version"]) == (NAME, VERSION)
    assert value["base"] == "matched"
    assert value["canary"]["passed"] is True
    assert len(value["checks"]) == 6
    assert cli(["verify", package, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["base"], value["canary"]) == ("not checked", None)


def test_verify_json_of_a_damaged_file_is_one_object(workplace, as_file, capsys):
    path = as_file((workplace / "picking.tpa").read_bytes()[:-15_000])
    assert cli(["verify", str(path), "--json"]) == 5
    value = json.loads(capsys.readouterr().out)
    assert value["exit_code"] == 5
    assert value["error"]
    assert value["fix"]


def test_inspect_json(workplace, capsys):
    assert cli(["inspect", str(workplace / "picking.tpa"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["record"]["name"] == NAME
    assert len(value["parts"]) == 6
    assert value["evaluation"]["split"] == "test"
    assert value["card"].startswith("---\nbase_model: ")


def test_package_json_and_the_note_on_an_unevaluated_one(workplace, tmp_path, capsys):
    command = ["package", str(workplace / "run"), "--name", NAME, "--version", "1.0.0"]
    assert cli([*command, "--out", str(tmp_path / "a.tpa"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["evaluated"] is False
    assert value["path"] == str(tmp_path / "a.tpa")
    assert value["digest"] == open_package(tmp_path / "a.tpa").digest
    assert cli([*command, "--out", str(tmp_path / "b.tpa")]) == 0
    assert "unevaluated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (["--name", "Picking"], 2),
        (["--version", "1.0"], 2),
        (["--version", "1.0.0+build"], 2),
        (["--eval", "nowhere"], 3),
        (["--card", "nowhere"], 3),
        (["--out", "exists.tpa"], 3),
    ],
)
def test_package_refuses_with_the_right_exit_code(
    change, code, workplace, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exists.tpa").write_text("precious")
    options = {"--name": NAME, "--version": "1.0.0", "--out": "a.tpa"}
    options.update(dict([change]))
    flat = [word for pair in options.items() for word in pair]
    assert cli(["package", str(workplace / "run"), *flat]) == code
    assert capsys.readouterr().err.startswith("error: ")
    assert [p.name for p in tmp_path.iterdir()] == ["exists.tpa"]
