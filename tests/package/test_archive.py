"""The tar is not trusted: whatever it holds, verify answers with exit 5 and two lines."""

import gzip
import io
import os
import tarfile

import pytest
from package.builders import entry, header, members_of, parts_of, tar

from tpactl.cli.app import run as cli
from tpactl.errors import InputError, IntegrityError
from tpactl.package.read import open_package

TARGET = "../../escaped"


def _members(good):
    return list(members_of(good).items())


def _pax(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 2
    return entry("PaxHeaders/x", b"%d%s" % (length, body), kind=b"x")


HOSTILE = {
    "traversal name": lambda m: tar(m, entry("../escaped", b"x")),
    "traversal inside blobs": lambda m: tar(m, entry("blobs/sha256/../../../escaped", b"x")),
    "traversal by prefix field": lambda m: tar(m, entry("escaped", b"x", prefix=b"../..")),
    "absolute name": lambda m: tar(m, entry("/tmp/escaped", b"x")),
    "absolute index": lambda m: tar([("/" + n if n == "index.json" else n, c) for n, c in m]),
    "symbolic link": lambda m: tar(m, header("blobs/link", 0, kind=b"2", link=TARGET)),
    "symbolic link as a blob": lambda m: tar(
        m, header("blobs/sha256/" + "0" * 64, 0, kind=b"2", link="/etc/passwd")
    ),
    "index is a symbolic link": lambda m: tar(
        [(n, c) for n, c in m if n != "index.json"],
        header("index.json", 0, kind=b"2", link="/etc/passwd"),
    ),
    "hard link": lambda m: tar(m, header("oci-layout", 0, kind=b"1", link="index.json")),
    "character device": lambda m: tar(m, header("blobs/null", 0, kind=b"3")),
    "block device": lambda m: tar(m, header("blobs/disk", 0, kind=b"4")),
    "fifo": lambda m: tar(m, header("blobs/pipe", 0, kind=b"6")),
    "contiguous file": lambda m: tar(m, entry("blobs/odd", b"x", kind=b"7")),
    "unknown kind": lambda m: tar(m, entry("blobs/odd", b"x", kind=b"Z")),
    "GNU long name": lambda m: tar(m, entry("././@LongLink", b"../escaped\0", kind=b"L")),
    "GNU sparse": lambda m: tar(m, header("blobs/sparse", 0, kind=b"S")),
    "global pax header": lambda m: entry("pax", b"18 comment=global\n", kind=b"g") + tar(m),
    "pax path": lambda m: _pax(b"path", b"../escaped") + tar(m),
    "pax linkpath": lambda m: _pax(b"linkpath", b"/etc/passwd") + tar(m),
    "pax size": lambda m: _pax(b"size", b"1") + tar(m),
    "pax sparse": lambda m: _pax(b"GNU.sparse.major", b"1") + tar(m),
    "pax comment": lambda m: _pax(b"comment", b"hidden") + tar(m),
    "pax broken length": lambda m: entry("PaxHeaders/x", b"99 mtime=1\n", kind=b"x") + tar(m),
    "pax huge": lambda m: entry("PaxHeaders/x", bytes(100_000), kind=b"x") + tar(m),
    "duplicate index": lambda m: tar(m, entry("index.json", dict(m)["index.json"])),
    "duplicate blob": lambda m: tar([*m, m[0]]),
    "duplicate under another name": lambda m: tar(m, entry("./index.json", b"{}")),
    "extra file": lambda m: tar([*m, ("run.sh", b"#!/bin/sh\n")]),
    "extra folder": lambda m: tar(m, header("blobs/sha512/", 0, kind=b"5")),
    "folder with content": lambda m: tar(m, entry("blobs/", b"hidden", kind=b"5")),
    "upper-case blob": lambda m: tar([*m, ("blobs/sha256/" + "A" * 64, b"x")]),
    "huge declared size": lambda m: tar(
        m, header("blobs/sha256/" + "0" * 64, 0, size_field=b"77777777777\0")
    ),
    "base-256 size": lambda m: tar(
        m, header("blobs/sha256/" + "0" * 64, 0, size_field=b"\x80" + b"\xff" * 11)
    ),
    "negative size": lambda m: tar(
        m, header("blobs/sha256/" + "0" * 64, 0, size_field=b"-0000000001\0")
    ),
    "wrong header checksum": lambda m: tar(
        m, header("blobs/", 0, kind=b"5", checksum=b"000001\0 ")
    ),
    "no ustar magic": lambda m: tar(m, entry("blobs/x", b"x", magic=bytes(8))),
    "hundreds of members": lambda m: tar(
        m, b"".join(entry(f"blobs/sha256/{n:064x}", b"") for n in range(300))
    ),
    "cut in a header": lambda m: tar(m)[: 512 + 100],
    "cut in content": lambda m: tar(m)[: len(tar(m)) // 2],
    "no end mark": lambda m: tar(m, end=b""),
    "half an end mark": lambda m: tar(m, end=bytes(512)),
    "trailing garbage": lambda m: tar(m) + b"garbage",
    "second archive behind the first": lambda m: tar(m) + tar(m),
    "no index": lambda m: tar([(n, c) for n, c in m if n != "index.json"]),
    "no oci-layout": lambda m: tar([(n, c) for n, c in m if n != "oci-layout"]),
    "other layout version": lambda m: tar(
        [(n, b'{"imageLayoutVersion":"2.0.0"}' if n == "oci-layout" else c) for n, c in m]
    ),
    "extra key in oci-layout": lambda m: tar(
        [(n, c[:-1] + b',"x":1}' if n == "oci-layout" else c) for n, c in m]
    ),
    "gzip": lambda m: gzip.compress(tar(m)),
    "zip": lambda m: b"PK\x03\x04" + bytes(2000),
    "empty": lambda m: b"",
    "zeros": lambda m: bytes(10240),
    "text": lambda m: b"not a package\n" * 100,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_leaves_by_exit_5_with_two_lines(
    kind, good, as_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    path = as_file(HOSTILE[kind](_members(good)))
    assert cli(["verify", str(path)]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.splitlines()[-1].startswith("fix:   ")
    assert len(err.splitlines()) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["candidate.tpa"]
    assert not (tmp_path.parent / "escaped").exists()


def test_the_attack_tools_make_valid_archives_where_nothing_is_wrong(good, as_file):
    before = open_package(as_file(good))
    after = open_package(as_file(tar(_members(good))))
    assert after.digest == before.digest
    assert len(HOSTILE) == 52


def _retar(good, how) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=how.get("format", tarfile.PAX_FORMAT)
    ) as out:
        if how.get("folders"):
            for name in how["folders"]:
                info = tarfile.TarInfo(name)
                info.type = tarfile.DIRTYPE
                out.addfile(info)
        for name, content in sorted(members_of(good).items(), reverse=how.get("reverse", False)):
            info = tarfile.TarInfo(how.get("prefix", "") + name)
            info.size = len(content)
            info.mtime = how.get("mtime", 0)
            info.mode = how.get("mode", 0o600)
            info.uname = info.gname = how.get("owner", "")
            info.uid = how.get("uid", 0)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue() + bytes(how.get("padding", 0))


COPIES = {
    "times": {"mtime": 1_700_000_000},
    "fractional times, a pax header each": {"mtime": 1_700_000_000.25},
    "order": {"reverse": True},
    "padding": {"padding": 7 * 512},
    "padding that is no whole block": {"padding": 100},
    "owners and modes": {"owner": "sömebody", "mode": 0o777},
    "a user id beyond octal": {"uid": 2**31, "format": tarfile.GNU_FORMAT},
    "folders": {"folders": ["blobs", "blobs/sha256"]},
    "names under a dot": {"prefix": "./", "folders": [".", "./blobs", "./blobs/sha256"]},
    "GNU format": {"format": tarfile.GNU_FORMAT, "mtime": 5},
    "ustar format": {"format": tarfile.USTAR_FORMAT, "mtime": 5},
}


@pytest.mark.parametrize("how", COPIES)
def test_what_the_container_adds_is_no_content(how, good, still, as_file):
    copy = _retar(good, COPIES[how])
    assert copy != good
    assert open_package(as_file(copy)).digest == open_package(still).digest


def test_bytes_that_fill_up_a_block_are_no_content(good, as_file):
    members = _members(good)
    name, content = next((n, c) for n, c in members if len(c) % 512)
    rest = tar([(n, c) for n, c in members if n != name])
    padded = header(name, len(content)) + content + b"\xff" * (-len(content) % 512)
    assert open_package(as_file(padded + rest)).record.name == "warehouse/picking"


def test_a_size_beyond_the_file_is_told_with_both_numbers(good, as_file):
    path = as_file(tar(_members(good), HOSTILE_SIZE))
    with pytest.raises(IntegrityError, match="claims 8589934591 bytes; 1024 are left"):
        open_package(path)


HOSTILE_SIZE = header("blobs/sha256/" + "0" * 64, 0, size_field=b"77777777777\0")


def test_a_file_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        open_package(tmp_path / "absent.tpa")


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: os.mkfifo(p)])
def test_a_folder_or_a_pipe_is_bad_input_and_does_not_block(make, tmp_path):
    make(tmp_path / "odd.tpa")
    with pytest.raises(InputError):
        open_package(tmp_path / "odd.tpa")


def test_a_changed_part_is_named_with_both_digests(good, as_file):
    parts = parts_of(good)
    card = parts["README.md"]
    changed = tar(
        (n, c.replace(b"picking", b"packing") if c == card else c) for n, c in _members(good)
    )
    with pytest.raises(IntegrityError) as caught:
        open_package(as_file(changed))
    assert caught.value.details[0].startswith("README.md: changed: expected sha256:")


def test_a_missing_and_an_added_blob_are_both_named(good, as_file):
    card = parts_of(good)["README.md"]
    odd = "blobs/sha256/" + "0" * 64
    changed = tar([*((n, c) for n, c in _members(good) if c != card), (odd, b"odd")])
    with pytest.raises(IntegrityError) as caught:
        open_package(as_file(changed))
    assert [line.split(":")[0] for line in caught.value.details] == ["README.md", "added"]
