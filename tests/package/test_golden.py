"""Packages of earlier days verify for ever, and the bytes written today are reviewed.

TPACTL_REFRESH_GOLDEN=1 pytest tests/package/test_golden.py writes the golden package anew. A file
here that was released once is never changed: a new format version gets a new file.
"""

import os
from pathlib import Path

import pytest
from package.builders import build_still_package

from tpactl.package.read import open_package

PACKAGES = Path(__file__).resolve().parents[1] / "golden" / "packages"
DIGESTS = {
    "format-1-report-2.tpa": (
        "sha256:9c08e0d84a695a034dda5904a5b1cabcc03c83350053dd0557e2d00a04a7a826"
    ),
    "format-1.tpa": "sha256:731d065e6d2d7d72d5ccf4c1aabe80ff7bd9f215195fba6ec06a27bea6245b52",
}


TODAY = "format-1-report-2.tpa"


def test_what_is_written_today_is_the_golden_package(tmp_path):
    made = build_still_package(tmp_path)
    golden = PACKAGES / TODAY
    if os.environ.get("TPACTL_REFRESH_GOLDEN"):
        golden.write_bytes(made.read_bytes())
        pytest.skip(f"golden package written; its digest is {open_package(golden).digest}")
    assert made.read_bytes() == golden.read_bytes()


@pytest.mark.parametrize("name", DIGESTS)
def test_every_golden_package_verifies_with_its_digest(name):
    package = open_package(PACKAGES / name)
    assert package.digest == DIGESTS[name]
    assert package.record.name == "warehouse/picking"
    assert package.evaluation is not None


def test_no_golden_package_is_forgotten():
    assert sorted(p.name for p in PACKAGES.iterdir()) == sorted(DIGESTS)
