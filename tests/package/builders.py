"""Tiny runs, reports and packages; and the tools of somebody who wants to slip one in."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tests.runs import run_record
from tpactl.formats.adapter import AdapterConfig, TPASettings
from tpactl.formats.files import write_bytes, write_json
from tpactl.formats.identity import BaseIdentity
from tpactl.formats.package import PARTS, PackageRecord
from tpactl.formats.report import Interval, Normaliser, Rate, Report, SystemResult
from tpactl.formats.run import RunConfig, RunRecord
from tpactl.package import canary, layout
from tpactl.package.build import build
from tpactl.package.tensors import serialise

NAME, VERSION = "warehouse/picking", "1.2.0"
TEXT_DIGESTS = [f"sha256:{n:064x}" for n in (1, 2, 3)]


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class StillBase:
    """A base that is only an identity: packages are made of it without torch."""

    identity: BaseIdentity
    ref: str = "/somewhere/bases/still"


def still_identity() -> BaseIdentity:
    return BaseIdentity(
        digest=digest(b"base"),
        weights=digest(b"weights"),
        config=digest(b"config"),
        tokenizer=digest(b"tokenizer"),
        feature_extractor=digest(b"extractor"),
        tensors={"encoder.weight": digest(b"tensor"), "ctc_head.weight": digest(b"head")},
        model_class="ParakeetForCTC",
        num_parameters=1000,
    )


def still_canary() -> canary.Canary:
    logits = (np.arange(4 * 3, dtype=np.float32) % 5).reshape(4, 3)
    return canary.Canary((np.arange(64, dtype=np.int16) - 32) * 100, logits)


def write_still_adapter(folder: Path, base_ref: str = "/somewhere/bases/still") -> None:
    """Write an adapter of one module and a head, by hand."""
    tensors = {
        "encoder.layers.0.feed_forward1.adapter.down.weight": np.ones((2, 4), np.float32),
        "ctc_head.weight": np.full((3, 4), 0.5, np.float32),
    }
    write_bytes(folder / "adapter_model.safetensors", serialise(tensors, {}))
    write_json(
        folder / "adapter_config.json",
        AdapterConfig(
            peft_type="TPA",
            base_model_name_or_path=base_ref,
            base_model_digest=still_identity().digest,
            target_modules=["encoder.layers.0.feed_forward1"],
            modules_to_save=["ctc_head"],
            bottleneck_dim=2,
            adapter_input="ffn",
            activation="ffn",
            scale=1.0,
            adapter_dropout=0.0,
            blocks=[0],
            num_parameters=20,
        ),
    )


RESOLVED: dict[str, Any] = {"adapter": TPASettings(bottleneck_dim=32, initialisation="uniform")}
"""Golden bytes must not change with a method's defaults."""


def write_run_record(
    run: Path, base_ref: str, base_digest: str, parameters: int, **config: Any
) -> RunRecord:
    data = "/home/somebody/data"
    record = run_record(
        RunConfig(base=base_ref, data=data, **(RESOLVED | config)),
        base_digest,
        parameters=parameters,
        data_path=data,
        data_digest=digest(b"data"),
        train_speakers=["ann", "bob"],
        train_text_digests=TEXT_DIGESTS,
        train_audio_digests=TEXT_DIGESTS,
        environment={"host": "machine-of-somebody"},
    )
    write_json(run / "run.json", record)
    return record


def write_still_run(run: Path) -> Path:
    write_still_adapter(run / "adapter")
    write_run_record(run, "/somewhere/bases/still", still_identity().digest, 20)
    return run


def write_report(folder: Path, run: Path, base_digest: str, **changes: Any) -> Path:
    weights = (run / "adapter" / "adapter_model.safetensors").read_bytes()

    def system(name: str, kind: Any, content_digest: str, errors: int) -> SystemResult:
        rate = Rate(
            rate=errors / 100, low=errors / 110, high=errors / 90, substitutions=errors,
            deletions=0, insertions=0, hits=100 - errors, reference_length=100,
        )  # fmt: skip
        return SystemResult(
            name=name, kind=kind, source=f"/home/somebody/runs/{name}", digest=content_digest,
            wer=rate, cer=rate, raw_wer=rate, real_time_factor=0.01, seconds=1.0,
            trained_parameters=None if kind == "base" else 20, size_bytes=None,
            train_seconds=None, peak_memory_bytes=None,
        )  # fmt: skip

    fields: dict[str, Any] = {
        "tpactl_version": "0.1.0",
        "data_path": "/home/somebody/data",
        "data_digest": digest(b"data"),
        "split": "test",
        "utterances": 40,
        "speakers": 5,
        "duration_s": 120.0,
        "empty_references": 0,
        "normaliser": Normaliser(name="whisper-english", version="1"),
        "interval": Interval(method="bootstrap", unit="speaker", resamples=1000, seed=0),
        "base_ref": "/somewhere/bases/still",
        "base_digest": base_digest,
        "systems": [
            system("base", "base", base_digest, 50),
            system("picking", "run", digest(weights), 25),
        ],
        "device": "cpu",
    }
    write_json(folder / "report.json", Report(**{**fields, **changes}))
    return folder


def build_still_package(folder: Path, *, evaluated: bool = True, out: Path | None = None) -> Path:
    """Write the package of a still run into ``folder``; needs no torch."""
    run = write_still_run(folder / "run")
    report = None
    if evaluated:
        report = write_report(folder / "report", run, still_identity().digest)
    made = canary.make
    canary.make = lambda base, adapter_folder: still_canary()  # type: ignore[assignment]
    try:
        return build(
            run,
            name=NAME,
            version=VERSION,
            out=out or folder / "picking.tpa",
            base=StillBase(still_identity()),  # type: ignore[arg-type]
            evaluation=report,
        ).path
    finally:
        canary.make = made


# --- for those who attack ---------------------------------------------------------------------


def members_of(package: bytes) -> dict[str, bytes]:
    """Return every file of the tar by name."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}


def parts_of(package: bytes) -> dict[str, bytes]:
    """Return every part by its file name, and the manifest as ``manifest``."""
    members = members_of(package)
    manifest_digest = json.loads(members["index.json"])["manifests"][0]["digest"]
    manifest = members["blobs/sha256/" + manifest_digest[7:]]
    parts = {"manifest": manifest}
    for layer in json.loads(manifest)["layers"]:
        name = layer["annotations"]["org.cncf.model.filepath"]
        parts[name] = members["blobs/sha256/" + layer["digest"][7:]]
    return parts


def header(
    name: str,
    size: int,
    *,
    kind: bytes = b"0",
    link: str = "",
    magic: bytes = b"ustar\x0000",
    size_field: bytes | None = None,
    checksum: bytes | None = None,
    prefix: bytes = b"",
) -> bytes:
    """Return one tar header, honest or not."""
    block = bytearray(512)
    block[0 : len(name.encode())] = name.encode()
    block[100:108] = b"0000644\0"
    block[108:124] = b"0000000\0" * 2
    block[124:136] = size_field or b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[157 : 157 + len(link)] = link.encode()
    block[257:265] = magic
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = checksum or b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name: str, content: bytes, **how: Any) -> bytes:
    return header(name, len(content), **how) + content + bytes(-len(content) % 512)


def tar(
    members: Iterable[tuple[str, bytes]], extra: bytes = b"", end: bytes = bytes(1024)
) -> bytes:
    return b"".join(entry(name, content) for name, content in members) + extra + end


def reseal(
    parts: dict[str, bytes],
    *,
    edit_record: Callable[[dict[str, Any]], Any] | None = None,
    edit_manifest: Callable[[dict[str, Any]], Any] | None = None,
    edit_config: Callable[[dict[str, Any]], Any] | None = None,
    edit_index: Callable[[dict[str, Any]], Any] | None = None,
    extra: dict[str, bytes] | None = None,
) -> bytes:
    """Return a package of ``parts`` with every digest made to fit again, as an attacker would."""
    parts = {name: content for name, content in parts.items() if name in PARTS}
    value = json.loads(parts["tpactl.json"])
    value["parts"] = {n: digest(c) for n, c in sorted(parts.items()) if n != "tpactl.json"}
    record = msgspec.convert(value, PackageRecord)
    if edit_record:
        edit_record(value)
        with contextlib.suppress(msgspec.ValidationError):
            record = msgspec.convert(value, PackageRecord)
    parts["tpactl.json"] = json.dumps(value).encode()
    blobs = {name: layout.blob_of(content) for name, content in parts.items()}
    config = _edited(layout.model_config(record, blobs), edit_config)
    manifest = _edited(layout.manifest(record, layout.blob_of(config), blobs), edit_manifest)
    index = _edited(layout.index(record, layout.blob_of(manifest)), edit_index)
    members = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": index,
        **{f"blobs/sha256/{digest(c)[7:]}": c for c in (config, manifest, *parts.values())},
        **(extra or {}),
    }
    return tar(sorted(members.items()))


def _edited(content: bytes, edit: Callable[[dict[str, Any]], Any] | None) -> bytes:
    if edit is None:
        return content
    value = json.loads(content)
    edit(value)
    return json.dumps(value).encode()
