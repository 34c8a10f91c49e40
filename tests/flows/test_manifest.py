"""The table that gives each recording its department's adapter: read whole or refused."""

from __future__ import annotations

import pytest

from tpactl.adapters.names import called
from tpactl.errors import InputError
from tpactl.flows.manifest import read_manifest
from tpactl.flows.packages import package_files


def write(path, text):
    path.write_text(text)
    return path


def test_csv_and_json_lines_say_the_same_in_their_own_order(tmp_path):
    table = write(
        tmp_path / "calls.csv",
        "adapter,audio_filepath,duration\nclinic,b.wav,2\n,sub/a.wav,1\n picking , /x/c.wav,3\n",
    )
    lines = write(
        tmp_path / "calls.jsonl",
        '{"file": "b.wav", "adapter": "clinic", "text": "x"}\n\n'
        '{"file": "sub/a.wav", "adapter": null}\n{"adapter": "picking", "file": "/x/c.wav"}\n',
    )
    for path in (table, lines):
        assert [(str(row.audio), row.adapter) for row in read_manifest(path)] == [
            (f"{tmp_path}/b.wav", "clinic"),
            (f"{tmp_path}/sub/a.wav", ""),
            ("/x/c.wav", "picking"),
        ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "audio_filepath,adapter\n", "no recordings in it"),
        ("a.jsonl", "\n", "no recordings in it"),
        ("a.csv", "audio_filepath,adaptor\na.wav,x\n", "no column adapter; it has audio_filepath"),
        ("a.csv", "path,adapter\na.wav,x\n", "no column audio_filepath or file; it has path"),
        ("a.csv", "file,audio_filepath,adapter\na,b,c\n", "both audio_filepath and file"),
        ("a.csv", "file,adapter\n,x\n", "line 2: file is ''"),
        ("a.csv", "file,adapter\na.wav\n", "1 cells, the header has 2"),
        ("a.jsonl", '{"file": "a.wav"}\n', "line 1: no column adapter"),
        ("a.jsonl", '{"file": "a.wav", "adapter": ["x"]}\n', "adapter is ['x']"),
        ("a.jsonl", '{"file": 3, "adapter": "x"}\n', "file is 3"),
        ("a.jsonl", '{"file": "a\\u0000.wav", "adapter": "x"}\n', "a file's name is expected"),
        ("a.jsonl", '{"file": "a.wav", "adap', "not valid JSON"),
        ("a.jsonl", "3\n", "not a JSON object"),
    ],
)
def test_what_could_lose_an_adapter_is_refused(tmp_path, name, text, said):
    with pytest.raises(InputError) as caught:
        read_manifest(write(tmp_path / name, text))
    assert said in caught.value.problem


def test_all_faults_are_listed(tmp_path):
    table = write(tmp_path / "a.jsonl", '{"file": "a"}\n{"file": "b", "adapter": ""}\n[]\n')
    with pytest.raises(InputError) as caught:
        read_manifest(table)
    assert "line 1" in caught.value.problem
    assert list(caught.value.details) == ["a.jsonl line 3: not a JSON object"]


def test_a_missing_table_and_a_binary_one_are_named(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"file,adapter\n\xff\xfe\x00")
    for name, said in (("none.csv", "cannot be read"), ("b.csv", "not UTF-8")):
        with pytest.raises(InputError, match=said):
            read_manifest(tmp_path / name)


def test_a_short_name_means_an_adapter_where_only_one_is_called_so():
    names = ["clinic/notes@1.0.0", "clinic/calls@2.1.0", "dock/picking@1.0.0", "dock"]
    assert called("dock/picking@1.0.0", names) == ["dock/picking@1.0.0"]
    assert called("dock/picking", names) == ["dock/picking@1.0.0"]
    assert called("clinic", names) == names[:2]
    # A run of that name is what is meant, whatever else begins so.
    assert called("dock", names) == ["dock"]
    assert called("dock", names[:3]) == ["dock/picking@1.0.0"]
    assert called("runs/a", ["runs/a"]) == ["runs/a"]
    assert called("runs", ["runs/a"]) == []
    assert called("none", names) == called("", names) == []


def test_a_folder_stands_for_its_packages(tmp_path):
    for name in ("b.tpa", "a.tpa", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    own = tmp_path / "own.tpa"
    assert package_files([own, tmp_path]) == [own, tmp_path / "a.tpa", tmp_path / "b.tpa"]
    with pytest.raises(InputError, match="no package in this folder"):
        package_files([tmp_path / "none"])
