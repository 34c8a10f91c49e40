"""What goes into a package, what may not, and that equal inputs give equal bytes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from package.builders import (
    NAME,
    VERSION,
    StillBase,
    build_still_package,
    digest,
    members_of,
    parts_of,
    still_canary,
    still_identity,
    write_report,
    write_run_record,
    write_still_run,
)

from tpactl.errors import BaseError, InputError, MachineError, UsageError
from tpactl.formats.report import Leak
from tpactl.package import build as build_module
from tpactl.package import canary
from tpactl.package.build import build
from tpactl.package.names import check_name, check_version, portable
from tpactl.package.read import open_package

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def still_run(tmp_path, monkeypatch):
    monkeypatch.setattr(canary, "make", lambda base, folder: still_canary())
    return write_still_run(tmp_path / "run")


def _build(run, out, **changes):
    arguments = {"name": NAME, "version": VERSION, "base": StillBase(still_identity())}
    return build(run, out=out, **{**arguments, **changes})


def test_the_package_holds_the_promised_parts(good):
    parts = parts_of(good)
    assert sorted(parts) == sorted(
        [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "canary.safetensors",
            "evaluation.json",
            "manifest",
            "tpactl.json",
        ]
    )
    assert json.loads(parts["adapter_config.json"])["peft_type"] == "TPA"
    record = json.loads(parts["tpactl.json"])
    assert record["parts"] == {
        name: digest(content)
        for name, content in sorted(parts.items())
        if name not in ("manifest", "tpactl.json")
    }
    assert record["base"] == msgspec.to_builtins(still_identity())


def test_the_weights_are_those_of_the_run_byte_for_byte(still_run, tmp_path):
    made = _build(still_run, tmp_path / "a.tpa")
    weights = (still_run / "adapter" / "adapter_model.safetensors").read_bytes()
    assert parts_of(made.path.read_bytes())["adapter_model.safetensors"] == weights


def test_the_envelope_is_modelpacks(good):
    manifest = json.loads(parts_of(good)["manifest"])
    prefix = "application/vnd.cncf.model."
    assert manifest["artifactType"] == prefix + "manifest.v1+json"
    assert manifest["config"]["mediaType"] == prefix + "config.v1+json"
    assert [
        (layer["annotations"]["org.cncf.model.filepath"], layer["mediaType"].removeprefix(prefix))
        for layer in manifest["layers"]
    ] == [
        ("adapter_model.safetensors", "weight.v1.raw"),
        ("adapter_config.json", "weight.config.v1.raw"),
        ("tpactl.json", "weight.config.v1.raw"),
        ("canary.safetensors", "dataset.v1.raw"),
        ("README.md", "doc.v1.raw"),
        ("evaluation.json", "doc.v1.raw"),
    ]
    assert manifest["annotations"]["dev.tpactl.base.digest"] == still_identity().digest
    members = members_of(good)
    index = json.loads(members["index.json"])
    assert index["manifests"][0]["annotations"] == {"org.opencontainers.image.ref.name": VERSION}
    config = json.loads(members["blobs/sha256/" + manifest["config"]["digest"][7:]])
    # ModelPack's schema is closed: these keys and no others.
    assert config.keys() == {"descriptor", "modelfs", "config"}
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]


def test_nothing_of_the_machine_is_inside(good):
    for word in (b"somebody", b"somewhere", b"machine-of", os.uname().nodename.encode()):
        assert word not in good


def test_without_an_evaluation_it_says_unevaluated(still_run, tmp_path):
    made = _build(still_run, tmp_path / "a.tpa").package
    assert made.evaluation is None
    assert "**Unevaluated.**" in made.card
    assert len(made.parts) == 5


def test_with_an_evaluation_the_card_shows_its_table(still):
    made = open_package(still)
    assert made.evaluation is not None
    assert made.evaluation.data_path == "data"
    assert "| picking | 25.0% (22.7% to 27.8%) |" in made.card
    assert "nevaluated" not in made.card


def test_a_test_that_overlaps_the_training_is_told_in_the_card(still_run, tmp_path):
    leak = Leak(system="picking", utterances=3, speakers=1, same_text=2, same_audio=0)
    digest_of_base = still_identity().digest
    report = write_report(tmp_path / "report", still_run, digest_of_base, leaks=[leak])
    card = _build(still_run, tmp_path / "a.tpa", evaluation=report).package.card
    assert "**picking was trained on part of this test**: 3 utterances" in card


def test_the_departments_own_words_go_into_the_card(still_run, tmp_path):
    words = tmp_path / "card.md"
    words.write_text(
        "# Use\r\n\r\nOnly for pickers — überall.\n```\n# no heading\n```\n", newline=""
    )
    card = _build(still_run, tmp_path / "a.tpa", card=words).package.card
    assert "\n## Use\n\nOnly for pickers — überall.\n```\n# no heading\n" in card
    assert "Nothing was said" not in card


@pytest.mark.parametrize("content", [b"\xff", b"# a\x1b[2J", b"x" * 2_000_000])
def test_a_card_that_is_no_text_is_bad_input(content, still_run, tmp_path):
    words = tmp_path / "card.md"
    words.write_bytes(content)
    with pytest.raises(InputError, match=r"card\.md"):
        _build(still_run, tmp_path / "a.tpa", card=words)
    assert not (tmp_path / "a.tpa").exists()


_CHILD = """
import os, sys
os.umask(int(sys.argv[2], 8))
from pathlib import Path
from package.builders import build_still_package
build_still_package(Path(sys.argv[1]))
"""


def test_equal_inputs_give_equal_bytes_whatever_the_machine_is_set_to(still, tmp_path):
    surroundings = [
        ("077", {"TZ": "Asia/Kolkata", "LANG": "C", "LC_ALL": "C", "PYTHONHASHSEED": "1"}),
        ("000", {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "2", "HOME": "/nonexistent"}),
    ]
    for number, (umask, environment) in enumerate(surroundings):
        folder = tmp_path / ("a folder with ä name" if number else "plain")
        subprocess.run(
            [sys.executable, "-X", "utf8", "-c", _CHILD, str(folder), umask],
            env={**os.environ, **environment, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
            cwd=tmp_path,
            check=True,
        )
        assert (folder / "picking.tpa").read_bytes() == still.read_bytes()


def test_the_order_of_keys_in_the_runs_files_does_not_matter(still, tmp_path):
    folder = tmp_path / "reordered"
    build_still_package(folder)
    for path in folder.rglob("*.json"):
        value = json.loads(path.read_bytes())
        path.write_text(json.dumps(dict(reversed(value.items()))))
    (folder / "picking.tpa").unlink()
    made = canary.make
    canary.make = lambda base, adapter: still_canary()
    try:
        _build(folder / "run", folder / "picking.tpa", evaluation=folder / "report")
    finally:
        canary.make = made
    assert (folder / "picking.tpa").read_bytes() == still.read_bytes()


def test_another_version_or_name_is_another_digest(still_run, tmp_path):
    digests = {
        _build(still_run, tmp_path / f"{n}.tpa", **changes).digest
        for n, changes in enumerate([{}, {"version": "1.2.1"}, {"name": "warehouse/loading"}])
    }
    assert len(digests) == 3


def test_an_evaluation_of_another_adapter_is_refused(still_run, tmp_path):
    report = write_report(tmp_path / "report", still_run, still_identity().digest)
    weights = still_run / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    with pytest.raises(InputError, match="not the evaluation of this run") as caught:
        _build(still_run, tmp_path / "a.tpa", evaluation=report)
    assert caught.value.exit_code == 3
    assert caught.value.details[0].startswith("adapter: the run's is sha256:")
    assert not (tmp_path / "a.tpa").exists()


def test_an_evaluation_on_another_base_is_refused(still_run, tmp_path):
    report = write_report(tmp_path / "report", still_run, digest(b"another base"))
    with pytest.raises(InputError, match="not the evaluation of this run") as caught:
        _build(still_run, tmp_path / "a.tpa", evaluation=report)
    assert caught.value.details[0].startswith("base: the run's is sha256:")


def test_a_folder_without_a_report_is_bad_input(still_run, tmp_path):
    with pytest.raises(InputError, match=r"report\.json"):
        _build(still_run, tmp_path / "a.tpa", evaluation=tmp_path)


def test_another_base_than_the_runs_is_refused(still_run, tmp_path):
    other = msgspec.structs.replace(still_identity(), digest=digest(b"other"))
    with pytest.raises(BaseError, match="trained on the base"):
        _build(still_run, tmp_path / "a.tpa", base=StillBase(other))


def test_a_full_fine_tune_is_no_package(tmp_path):
    write_run_record(tmp_path / "run", "starter", still_identity().digest, 20, method="full")
    with pytest.raises(UsageError, match="full fine-tune") as caught:
        _build(tmp_path / "run", tmp_path / "a.tpa")
    assert "train with another --method" in caught.value.fix


def test_a_run_without_its_adapter_is_bad_input(still_run, tmp_path):
    (still_run / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="is missing"):
        _build(still_run, tmp_path / "a.tpa")


def test_a_damaged_adapter_makes_no_package(still_run, tmp_path):
    weights = still_run / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(Exception, match=r"adapter_model\.safetensors"):
        _build(still_run, tmp_path / "a.tpa")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_an_existing_file_is_kept_unless_forced(still_run, tmp_path):
    out = tmp_path / "a.tpa"
    out.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        _build(still_run, out)
    assert out.read_text() == "precious"
    _build(still_run, out, force=True)
    assert open_package(out).record.version == VERSION


def test_a_folder_is_never_replaced(still_run, tmp_path):
    (tmp_path / "a.tpa").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        _build(still_run, tmp_path / "a.tpa", force=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_the_machines_fault(still_run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(MachineError):
        _build(still_run, tmp_path / "locked" / "a.tpa")


def test_a_full_disk_is_the_machines_fault(still_run, tmp_path, monkeypatch):
    def full(file, members):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_module, "write", full)
    with pytest.raises(MachineError, match="No space left"):
        _build(still_run, tmp_path / "a.tpa")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


_KILLED = """
import sys, time
from pathlib import Path
from package.builders import build_still_package
from tpactl.package import build
whole = build.write
def half(file, members):
    whole(file, members)
    file.flush()
    print("written", flush=True)
    time.sleep(60)
build.write = half
build_still_package(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_packaging_leaves_no_package(how, tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout.readline() == b"written\n"
    child.send_signal(how)
    child.wait()
    left = [p.name for p in tmp_path.iterdir() if p.is_file()]
    assert not (tmp_path / "picking.tpa").exists()
    # SIGKILL cannot be tidied up after; what stays has a name that says it is unfinished.
    assert all(name.startswith(".building-") for name in left)
    assert how == signal.SIGKILL or left == []


@pytest.mark.parametrize(
    "name", ["a/b", "warehouse/picking", "dep-1/task-2", "0/0", "a" * 60 + "/b"]
)
def test_names_that_are_taken(name):
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "a", "/a", "a/", "a//b", "a/b/c", "A/b", "a_b/c", "a.b/c", "-a/b", "a-/b", "a--b/c",
        "a/b ", "a/b\n", "ä/b", "../b", "a/..", "a" * 128 + "/b", "a/b:1", "a/b@1",
    ],
)  # fmt: skip
def test_names_that_are_refused(name):
    with pytest.raises(UsageError, match="--name"):
        check_name(name)


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3", "10.20.30", "1.0.0-rc.1", "1.0.0-0a.b-c"])
def test_versions_that_are_taken(version):
    check_version(version)


@pytest.mark.parametrize(
    "version",
    [
        "", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0-a..b", "1.0.0 ",
        "1.0.0\n", "latest", "1.0.0.0", "1.0.0-" + "a" * 130, "1.0.٠", "1.0.0-ä",
    ],
)  # fmt: skip
def test_versions_that_are_refused(version):
    with pytest.raises(UsageError, match="semantic version"):
        check_version(version)


def test_build_metadata_is_refused_with_what_to_use_instead():
    with pytest.raises(UsageError, match="OCI tag") as caught:
        check_version("1.0.0-rc.1+build.5")
    assert caught.value.fix == "use --version 1.0.0-rc.1"


@pytest.mark.parametrize(
    ("ref", "shown"),
    [
        ("starter", "starter"),
        ("nvidia/parakeet-ctc-1.1b@main", "nvidia/parakeet-ctc-1.1b@main"),
        ("/home/me/bases/large", "large"),
        ("/home/me/bases/large/", "large"),
        ("../bases/large", "large"),
        ("./large", "large"),
        ("~/large", "large"),
        ("work/bases/large", "large"),
        ("C:\\Users\\me\\large", "large"),
    ],
)
def test_a_base_is_named_without_the_machines_folders(ref, shown):
    assert portable(ref) == shown
