"""Debian's skopeo copies a package, and it stays the same package."""

import json
import shutil
import subprocess
import tarfile

import pytest
from package.builders import NAME, VERSION

from tpactl.package.read import open_package

pytestmark = pytest.mark.skipif(
    shutil.which("skopeo") is None, reason="skopeo is not installed (apt-get install skopeo)"
)


def _skopeo(*arguments):
    return subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], check=True, capture_output=True
    ).stdout


def _same(copy, still):
    before, after = open_package(still), open_package(copy)
    assert copy.read_bytes() != still.read_bytes()
    assert (after.digest, after.record, after.parts) == (before.digest, before.record, before.parts)
    assert after.record.name == NAME


def test_a_copy_to_another_archive(still, tmp_path):
    copy = tmp_path / "copy.tar"
    tag = f":{VERSION}"
    _skopeo("copy", "--preserve-digests", f"oci-archive:{still}{tag}", f"oci-archive:{copy}{tag}")
    _same(copy, still)


def test_a_copy_without_a_tag(still, tmp_path):
    copy = tmp_path / "copy.tar"
    _skopeo("copy", "--preserve-digests", f"oci-archive:{still}", f"oci-archive:{copy}")
    _same(copy, still)


def test_through_a_layout_on_disk_and_any_tar(still, tmp_path):
    layout = tmp_path / "layout"
    _skopeo(
        "copy", "--preserve-digests", f"oci-archive:{still}:{VERSION}", f"oci:{layout}:{VERSION}"
    )
    copy = tmp_path / "copy.tar"
    with tarfile.open(copy, "w") as archive:
        archive.add(layout, arcname=".")
    _same(copy, still)


def test_gnu_tar(still, tmp_path):
    layout, copy = tmp_path / "layout", tmp_path / "copy.tar"
    layout.mkdir()
    subprocess.run(["tar", "-xf", still, "-C", layout], check=True)
    subprocess.run(["tar", "-cf", copy, "-C", layout, "."], check=True)
    _same(copy, still)


def test_skopeo_reads_the_digest_that_verify_prints(still, tmp_path):
    raw = _skopeo("inspect", "--raw", f"oci-archive:{still}:{VERSION}")
    (tmp_path / "manifest.json").write_bytes(raw)
    assert _skopeo("manifest-digest", str(tmp_path / "manifest.json")).decode().strip() == (
        open_package(still).digest
    )
    assert json.loads(raw)["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
