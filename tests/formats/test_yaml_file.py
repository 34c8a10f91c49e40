"""YAML that a person writes is read strictly, and its faults are told together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tpactl.errors import InputError, UsageError
from tpactl.formats.files import Record
from tpactl.formats.yaml_file import read_record, read_yaml


class Point(Record, kw_only=True):
    x: float
    name: str = ""
    tags: tuple[str, ...] = ()


def read(path: Path, **options):
    return read_record(path, Point, what="point", flag="--point", fix="mend it", **options)


def test_a_record_comes_with_the_digest_of_its_bytes(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("x: 1e-3\ntags: [a]\n")
    point, digest = read(file)
    assert point == Point(x=0.001, tags=("a",))
    assert digest == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("error", [UsageError, InputError])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x: [", "no point: not YAML: "),
        (b"\xff\xfe\x00", "no point: not YAML: "),
        (b"[" * 5_000, "no point: not YAML: "),
        (b"- x", "no point: found a list"),
        (b"", "no point: found nothing"),
        (b"name: a", "missing required field `x`"),
        (b"x: wide", "x: expected `float`, got `str`, found 'wide'"),
        (b"x: 1\ntags: [a, 2]", "tags[1]: expected `str`"),
        (b"x: 1\nnome: b", "unknown key 'nome'; the nearest is name"),
        (b"x: 1\nzzz: b", "unknown key 'zzz'; there are: x, name, tags"),
        (b"x: 1\n2: b", "unknown key '2'"),
    ],
)
def test_what_cannot_be_is_told_with_the_file(content, said, error, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_bytes(content)
    with pytest.raises(error) as caught:
        read(file, error=error)
    assert said in caught.value.problem
    assert caught.value.problem.startswith(f"{file}: no point: ")
    assert "\n" not in caught.value.problem
    assert caught.value.fix == "mend it"


def test_all_faults_are_told_at_once(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("x: a\ntags: b\nzz: 1")
    with pytest.raises(UsageError) as caught:
        read(file)
    assert len([caught.value.problem, *caught.value.details]) == 3


def test_a_file_that_is_not_there_names_the_flag(tmp_path):
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read(tmp_path / "none.yaml")
    assert caught.value.fix == "check the path given to --point"


def test_an_empty_mapping_where_it_may_be(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("# nothing\n")
    assert read_yaml(file, what="point", flag="--point", may_be_empty=True) == {}
    with pytest.raises(UsageError, match="found nothing"):
        read_yaml(file, what="point", flag="--point")


@pytest.mark.parametrize("content", ["x: 1\nname: a\nx: 2\n", "x: 1\ntags: {a: 1, a: 2}\n"])
def test_a_key_that_stands_twice_is_a_fault_and_none_is_lost(tmp_path, content):
    file = tmp_path / "p.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"the key '[xa]' stands twice"):
        read(file)
