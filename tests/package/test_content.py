"""Any changed content is exit 5, even where every digest was made to fit again."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from package.builders import digest, entry, members_of, parts_of, reseal, tar

from tpactl.errors import IntegrityError
from tpactl.package import canary
from tpactl.package.read import open_package
from tpactl.package.tensors import serialise


def _content(path):
    opened = open_package(path)
    return opened.digest, opened.record, opened.config, opened.card, opened.evaluation, opened.parts


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("flips") / "flipped.tpa"


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_flipped_byte_fails_or_leaves_the_content_unchanged(data, good, still, scratch):
    position = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(1, 255))
    changed = bytearray(good)
    changed[position] ^= value
    scratch.write_bytes(changed)
    try:
        after = _content(scratch)
    except IntegrityError:
        return
    assert after == _content(still)
    assert _is_padding(good, position)


def _is_padding(good, position):
    """Whether the byte lies behind a member's content, before the next block."""
    return all(
        not start <= position < start + len(content)
        for content in members_of(good).values()
        for start in [good.find(content)]
    )


def test_every_byte_of_index_layout_and_manifest_counts(good, scratch):
    members = members_of(good)
    manifest = parts_of(good)["manifest"]
    scratch.write_bytes(good)
    watched = [members["index.json"], members["oci-layout"], manifest]
    flips = 0
    for content in watched:
        start = good.find(content)
        for position in range(start, start + len(content)):
            # By turns neighbours in ASCII, digits into spaces and controls, and the other case.
            _flip(scratch, position, good[position] ^ (1, 0x10, 0x20)[position % 3])
            with pytest.raises(IntegrityError):
                open_package(scratch)
            _flip(scratch, position, good[position])
            flips += 1
    assert flips == sum(map(len, watched))
    assert open_package(scratch)


def _flip(path, position, value):
    with path.open("r+b") as file:
        file.seek(position)
        file.write(bytes([value]))


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_package_never_opens(cut, good, scratch):
    end = good.rstrip(b"\0")  # content and headers; the rest is the end mark
    scratch.write_bytes(good[: int(cut * len(end))])
    with pytest.raises(IntegrityError):
        open_package(scratch)


def _edit_json(parts, name, edit):
    value = json.loads(parts[name])
    edit(value)
    parts[name] = json.dumps(value).encode()


def _weights(**tensors):
    return serialise(tensors, {})


DOWN, HEAD = "encoder.layers.0.feed_forward1.adapter.down.weight", "ctc_head.weight"
GOOD_TENSORS = {DOWN: np.ones((2, 4), np.float32), HEAD: np.ones((3, 4), np.float32)}


def _header_only(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def _described(**changes):
    return {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


WEIGHTS = {
    "no safetensors": b"x",
    "header longer than the file": _header_only({}, length=2**62),
    "header no JSON": _header_only(b"\xff{}"),
    "header a list": _header_only([]),
    "header with a key twice": _header_only(b'{"w":{},"w":{}}'),
    "deep header": _header_only(b"[" * 100_000),
    "unknown dtype": _header_only(_described(dtype="EVIL"), bytes(4)),
    "negative shape": _header_only(_described(shape=[-1]), bytes(4)),
    "boolean shape": _header_only(_described(shape=[True]), bytes(4)),
    "overflowing shape": _header_only(_described(shape=[2**40, 2**40]), bytes(4)),
    "offsets beyond the file": _header_only(_described(data_offsets=[0, 400]), bytes(4)),
    "offsets backwards": _header_only(_described(data_offsets=[4, 0]), bytes(4)),
    "three offsets": _header_only(_described(data_offsets=[0, 2, 4]), bytes(4)),
    "bytes behind the tensors": _header_only(_described(), bytes(8)),
    "metadata no text": _header_only({"__metadata__": {"a": 1}}),
    "one tensor missing": _weights(**{DOWN: GOOD_TENSORS[DOWN]}),
    "one tensor too many": _weights(**GOOD_TENSORS, evil=np.ones(1, np.float32)),
    "tensor of another module": _weights(
        **{HEAD: GOOD_TENSORS[HEAD], "encoder.layers.1.x": np.ones((2, 4), np.float32)}
    ),
    "integers": _weights(**{**GOOD_TENSORS, DOWN: np.ones((2, 4), np.int16)}),
    "another size": _weights(**{**GOOD_TENSORS, DOWN: np.ones((2, 5), np.float32)}),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_no_adapter_of_this_configuration(kind, parts, as_file):
    parts["adapter_model.safetensors"] = WEIGHTS[kind]
    del parts["evaluation.json"]
    with pytest.raises(IntegrityError):
        open_package(as_file(reseal(parts)))


def test_the_untouched_weights_pass_when_resealed(parts, as_file):
    parts["adapter_model.safetensors"] = _weights(**GOOD_TENSORS)
    del parts["evaluation.json"]
    assert open_package(as_file(reseal(parts))).evaluation is None
    assert len(WEIGHTS) == 20


RESEALED = {
    "name no name": {"edit_record": lambda r: r.update(name="../evil")},
    "name upper case": {"edit_record": lambda r: r.update(name="Warehouse/picking")},
    "version no version": {"edit_record": lambda r: r.update(version="latest")},
    "record's format version": {"edit_record": lambda r: r.update(format_version=2)},
    "record lists another part": {"edit_record": lambda r: r["parts"].update({"x": digest(b"")})},
    "record lacks a part": {"edit_record": lambda r: r["parts"].pop("README.md")},
    "record's part differs": {
        "edit_record": lambda r: r["parts"].update({"README.md": digest(b"")})
    },
    "record's other base": {"edit_record": lambda r: r["base"].update(digest=digest(b"other"))},
    "record counts otherwise": {
        "edit_record": lambda r: r["provenance"].update(trained_parameters=1)
    },
    "manifest unknown key": {"edit_manifest": lambda m: m.update(subject=m["config"])},
    "manifest schema version": {"edit_manifest": lambda m: m.update(schemaVersion=1)},
    "manifest media type": {"edit_manifest": lambda m: m.update(mediaType="text/plain")},
    "manifest artifact type": {"edit_manifest": lambda m: m.update(artifactType="text/plain")},
    "manifest no artifact type": {"edit_manifest": lambda m: m.pop("artifactType")},
    "manifest no annotations": {"edit_manifest": lambda m: m.pop("annotations")},
    "manifest annotation added": {"edit_manifest": lambda m: m["annotations"].update(a="b")},
    "manifest annotation changed": {
        "edit_manifest": lambda m: m["annotations"].update({"dev.tpactl.evaluated": "false"})
    },
    "manifest annotation no text": {"edit_manifest": lambda m: m["annotations"].update(a=1)},
    "manifest other base": {
        "edit_manifest": lambda m: m["annotations"].update({"dev.tpactl.base.digest": digest(b"")})
    },
    "layer media type": {"edit_manifest": lambda m: m["layers"][0].update(mediaType="text/plain")},
    "layer size": {"edit_manifest": lambda m: m["layers"][0].update(size=1)},
    "layer size no number": {"edit_manifest": lambda m: m["layers"][0].update(size="1")},
    "layer size a fraction": {
        "edit_manifest": lambda m: m["layers"][0].update(size=m["layers"][0]["size"] + 0.0)
    },
    "layer digest of another algorithm": {
        "edit_manifest": lambda m: m["layers"][0].update(digest="md5:0")
    },
    "layer digest a path": {
        "edit_manifest": lambda m: m["layers"][0].update(digest="sha256:../../etc/passwd")
    },
    "layer without a blob": {"edit_manifest": lambda m: m["layers"][0].update(digest=digest(b"-"))},
    "layer annotation added": {
        "edit_manifest": lambda m: m["layers"][0]["annotations"].update(a="b")
    },
    "layer named a path": {
        "edit_manifest": lambda m: m["layers"][0]["annotations"].update(
            {"org.cncf.model.filepath": "../evil"}
        )
    },
    "layer with urls": {"edit_manifest": lambda m: m["layers"][0].update(urls=["http://evil"])},
    "layer missing": {"edit_manifest": lambda m: m["layers"].pop(2)},
    "layer twice": {"edit_manifest": lambda m: m["layers"].append(m["layers"][0])},
    "layers in another order": {"edit_manifest": lambda m: m["layers"].reverse()},
    "layers no list": {"edit_manifest": lambda m: m.update(layers={})},
    "configuration key added": {"edit_config": lambda c: c.update(evil=True)},
    "configuration of another name": {"edit_config": lambda c: c["descriptor"].update(name="a/b")},
    "configuration's diff id": {"edit_config": lambda c: c["modelfs"]["diffIds"].pop()},
    "index with a second manifest": {
        "edit_index": lambda i: i["manifests"].append(i["manifests"][0])
    },
    "index without a manifest": {"edit_index": lambda i: i.update(manifests=[])},
    "index schema version": {"edit_index": lambda i: i.update(schemaVersion=1)},
    "index media type": {"edit_index": lambda i: i.update(mediaType="text/plain")},
    "index unknown key": {"edit_index": lambda i: i.update(extra=1)},
    "index annotations": {"edit_index": lambda i: i.update(annotations={"a": "b"})},
    "entry's digest": {"edit_index": lambda i: i["manifests"][0].update(digest=digest(b""))},
    "entry's size": {"edit_index": lambda i: i["manifests"][0].update(size=1)},
    "entry's media type": {
        "edit_index": lambda i: i["manifests"][0].update(mediaType="text/plain")
    },
    "entry's artifact type": {"edit_index": lambda i: i["manifests"][0].update(artifactType="a/b")},
    "entry's platform": {"edit_index": lambda i: i["manifests"][0].update(platform={})},
    "entry's tag": {
        "edit_index": lambda i: i["manifests"][0]["annotations"].update(
            {"org.opencontainers.image.ref.name": "9.9.9"}
        )
    },
    "entry's annotation added": {
        "edit_index": lambda i: i["manifests"][0]["annotations"].update(a="b")
    },
    "entry's annotations emptied": {
        "edit_index": lambda i: i["manifests"][0].update(annotations={})
    },
    "extra blob": {"extra": {"blobs/sha256/" + digest(b"extra")[7:]: b"extra"}},
}


@pytest.mark.parametrize("kind", RESEALED)
def test_an_envelope_that_says_something_else(kind, parts, as_file):
    with pytest.raises(IntegrityError):
        open_package(as_file(reseal(parts, **RESEALED[kind])))


def test_the_seal_itself_is_valid(parts, as_file):
    assert open_package(as_file(reseal(parts))).record.name == "warehouse/picking"
    assert len(RESEALED) == 51


CHANGES = {
    "unknown key": lambda value, key: value.update(surprise=1),
    "missing key": lambda value, key: value.pop(key),
    "another type": lambda value, key: value.update({key: 7}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("tpactl.json", "base_ref"),
        ("adapter_config.json", "peft_type"),
        ("evaluation.json", "split"),
    ],
)
def test_records_are_read_strictly(name, key, change, parts, as_file):
    edit_record = None
    if name == "tpactl.json":
        edit_record = lambda value: CHANGES[change](value, key)  # noqa: E731
    else:
        _edit_json(parts, name, lambda value: CHANGES[change](value, key))
    with pytest.raises(IntegrityError, match=name):
        open_package(as_file(reseal(parts, edit_record=edit_record)))


BAD_JSON = {
    "key twice": b'{"schemaVersion":2,"schemaVersion":2,"manifests":[]}',
    "byte-order mark": b'\xef\xbb\xbf{"schemaVersion":2}',
    "UTF-16": '{"schemaVersion":2}'.encode("utf-16"),
    "NaN": b'{"schemaVersion":NaN}',
    "a number beyond floats": b'{"schemaVersion":1e999}',
    "an endless integer": b'{"schemaVersion":' + b"9" * 10_000 + b"}",
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 50_000,
    "lone surrogate": b'{"schemaVersion":2,"x":"\\ud800"}',
    "terminal escape": b'{"schemaVersion":2,"x":"\\u001b[2J"}',
    "trailing text": b'{"schemaVersion":2} x',
    "comment": b'{"schemaVersion":2} // x',
    "null": b"null",
    "list": b"[]",
    "empty": b"",
}


@pytest.mark.parametrize("kind", BAD_JSON)
def test_json_with_two_meanings_is_refused(kind, good, as_file):
    members = {**members_of(good), "index.json": BAD_JSON[kind]}
    with pytest.raises(IntegrityError, match=r"index\.json"):
        open_package(as_file(tar(members.items())))
    assert len(BAD_JSON) == 15


def test_a_key_twice_is_refused_even_with_the_same_value(good, as_file):
    members = members_of(good)
    members["index.json"] = b'{"schemaVersion":2,' + members["index.json"][1:]
    with pytest.raises(IntegrityError, match="stands there twice"):
        open_package(as_file(tar(members.items())))


def test_a_record_cannot_bring_a_terminal_escape(parts, as_file):
    def edit(record):
        record["provenance"]["train_speakers"] = ["ann\x1b[2J"]

    with pytest.raises(IntegrityError, match="control character"):
        open_package(as_file(reseal(parts, edit_record=edit)))


def test_content_that_changes_between_hashing_and_reading_is_caught(good, as_file, monkeypatch):
    changed = good.replace(b"# warehouse/picking", b"# warehouse/packing")
    assert changed != good
    # As if the file had been whole while it was hashed.
    names = lambda reader, member: "sha256:" + member.name[-64:]  # noqa: E731
    monkeypatch.setattr("tpactl.package.read._Reader._hash", names)
    with pytest.raises(IntegrityError, match="changed while it was read"):
        open_package(as_file(changed))


def test_another_serialisation_of_the_same_index_is_the_same_index(good, still, as_file):
    members = members_of(good)
    value = json.loads(members["index.json"])
    del value["mediaType"]  # as skopeo writes it
    members["index.json"] = json.dumps(dict(reversed(value.items())), indent=4).encode() + b"\n"
    members["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}\n'
    assert open_package(as_file(tar(members.items()))).digest == open_package(still).digest


def test_a_copy_without_a_tag_is_the_same_package(good, still, as_file):
    members = members_of(good)
    value = json.loads(members["index.json"])
    del value["manifests"][0]["annotations"]
    members["index.json"] = json.dumps(value).encode()
    assert open_package(as_file(tar(members.items()))).digest == open_package(still).digest


def test_a_newer_format_says_which_version_is_read_here(parts, as_file):
    newer = reseal(
        parts, edit_manifest=lambda m: m["annotations"].update({"dev.tpactl.format-version": "2"})
    )
    with pytest.raises(IntegrityError, match="format version 2; this tpactl reads 1") as caught:
        open_package(as_file(newer))
    assert "newer tpactl" in caught.value.fix


def test_an_image_of_something_else_is_no_package(parts, as_file):
    other = reseal(parts, edit_manifest=lambda m: m.update(annotations={}))
    with pytest.raises(IntegrityError, match="this is no package"):
        open_package(as_file(other))


def test_a_huge_index_is_not_read(good, as_file):
    members = {**members_of(good), "index.json": b" " * 2_000_000}
    with pytest.raises(IntegrityError, match="at most"):
        open_package(as_file(tar(members.items())))


@pytest.mark.parametrize("card", [b"\xff", b"# Card\x1b[2J", b"# Card\r"])
def test_a_card_that_could_steer_a_terminal_is_refused(card, parts, as_file):
    parts["README.md"] = card
    with pytest.raises(IntegrityError, match=r"README\.md"):
        open_package(as_file(reseal(parts)))


def test_an_evaluation_of_other_weights_is_refused(parts, as_file):
    parts["adapter_model.safetensors"] = _weights(
        **{**GOOD_TENSORS, DOWN: np.zeros((2, 4), np.float32)}
    )
    with pytest.raises(IntegrityError, match="measured with another adapter"):
        open_package(as_file(reseal(parts)))


CANARIES = {
    "no tensor": {},
    "no logits": {"waveform": np.zeros(4, np.int16)},
    "one more": {
        "waveform": np.zeros(4, np.int16), "logits": np.zeros((1, 2), np.float32),
        "x": np.zeros(1, np.float32),
    },
    "float waveform": {"waveform": np.zeros(4, np.float32), "logits": np.zeros((1, 2), np.float32)},
    "empty waveform": {"waveform": np.zeros(0, np.int16), "logits": np.zeros((1, 2), np.float32)},
    "flat logits": {"waveform": np.zeros(4, np.int16), "logits": np.zeros(2, np.float32)},
    "NaN": {"waveform": np.zeros(4, np.int16), "logits": np.full((1, 2), np.nan, np.float32)},
}  # fmt: skip


@pytest.mark.parametrize("kind", CANARIES)
def test_a_canary_that_proves_nothing_is_refused(kind):
    with pytest.raises(IntegrityError, match=r"canary\.safetensors"):
        canary.read(serialise(CANARIES[kind], {}))


def test_the_file_may_not_change_between_opening_and_use(good, as_file, tmp_path):
    path = as_file(good)
    opened = open_package(path)
    weights = parts_of(good)["adapter_model.safetensors"]
    changed = bytearray(good)
    changed[good.find(weights) + len(weights) - 1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(IntegrityError, match="changed while it was read"):
        opened.extract(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_extract_writes_the_adapter_and_nothing_else(still, good, tmp_path):
    folder = open_package(still).extract(tmp_path / "adapter")
    written = {p.name: p.read_bytes() for p in folder.iterdir()}
    parts = parts_of(good)
    assert written == {n: parts[n] for n in ("adapter_config.json", "adapter_model.safetensors")}


def test_entry_helper_pads_to_blocks():
    assert len(entry("index.json", b"x")) == 1024
