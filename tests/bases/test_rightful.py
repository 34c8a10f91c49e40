"""The fix of a wrong base names a base only while it is the right one."""

import shutil

import pytest
from models import tiny_base

from tpactl.bases import load
from tpactl.bases.identity import fingerprint
from tpactl.bases.rightful import way_to_base


@pytest.fixture
def folder(tmp_path):
    return tiny_base(tmp_path / "my base")


def test_a_base_that_is_still_there_is_named_for_the_shell(folder):
    said = way_to_base(str(folder), fingerprint(folder).digest)
    assert said == f"give the base it was trained on: --base '{folder}'"


def test_a_base_that_has_changed_since_is_not_offered(folder, tmp_path):
    digest = fingerprint(folder).digest
    shutil.rmtree(folder)
    tiny_base(folder, seed=1)
    said = way_to_base(str(folder), digest)
    assert "is another one too" in said
    assert digest[:19] in said
    assert f"--base {folder}" not in said


def test_a_starter_that_has_changed_since_is_not_offered(folder, monkeypatch):
    digest = fingerprint(load.starter_base()).digest
    assert way_to_base("starter", digest).endswith("--base starter")
    monkeypatch.setattr(load, "starter_base", lambda: folder)
    assert "the starter of this installation is another one too" in way_to_base("starter", digest)


@pytest.mark.parametrize("gone", ["somebodys/base", "base", "/nowhere/base"])
def test_of_a_base_that_is_gone_the_digest_is_told_and_nothing_downloaded(gone, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went online"))
    said = way_to_base(gone, "sha256:" + 64 * "a")
    assert "tpactl base fingerprint DIR must print sha256:aaaaaaaaaaaa" in said
