"""Open a ``.tpa`` whose every byte of content has been checked, or none of it.

Reads the file, writes nothing. What is checked, in this order: the tar's members, every blob
against its name, the index, the manifest, every part's size and digest, the records, and that
manifest, configuration and index are exactly what ``layout`` makes of them. A manifest's digest
protects all below it; nothing inside the file protects the manifest from somebody who rewrites the
whole file. For that compare ``OpenedPackage.digest`` with the one that was published.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tpactl.errors import InputError, IntegrityError
from tpactl.formats.adapter import CONFIG_FILE, WEIGHTS_FILE, AdapterConfig
from tpactl.formats.files import Record
from tpactl.formats.gate import GATE_FILE, GateRecord
from tpactl.formats.package import (
    CANARY_FILE,
    CARD_FILE,
    EVALUATION_FILE,
    FORMAT_VERSION,
    PARTS,
    RECORD_FILE,
    REQUIRED_PARTS,
    PackageRecord,
)
from tpactl.formats.report import Report
from tpactl.package import canary, layout
from tpactl.package.agreement import check_adapter, check_decision, measured
from tpactl.package.archive import Member, scan, whole_file
from tpactl.package.names import is_name, is_version
from tpactl.package.strict import (
    GET_IT_AGAIN,
    convert,
    damaged,
    has_control_characters,
    parse,
)
from tpactl.package.tensors import read_header

_MOST_JSON_BYTES = 64 * 1024 * 1024
_MOST_INDEX_BYTES = 1024 * 1024
_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Part:
    """A file of the package."""

    name: str
    digest: str
    size: int
    media_type: str


@dataclass(frozen=True)
class OpenedPackage:
    """A package that passed every check that needs no base.

    Attributes:
        path: the file.
        digest: of the manifest; it stays the same in copies made by OCI tools.
        parts: in the manifest's order.
        evaluation: ``None`` where the package is unevaluated.
        card: the model card, Markdown.
        decision: of the gate; ``None`` where none judged the evaluation.
    """

    path: Path
    size_bytes: int
    digest: str
    record: PackageRecord
    config: AdapterConfig
    parts: tuple[Part, ...]
    evaluation: Report | None
    card: str
    canary: canary.Canary
    decision: GateRecord | None
    _members: Mapping[str, Member]

    def extract(self, folder: Path) -> Path:
        """Write the adapter (configuration and weights) into ``folder`` and return it.

        Raises:
            IntegrityError: the file changed since it was opened.
        """
        with self.path.open("rb") as file:
            for part in self.parts:
                if part.name in (WEIGHTS_FILE, CONFIG_FILE):
                    with whole_file(folder / part.name) as target:
                        digest = hashlib.sha256()
                        for chunk in _chunks(file, self._members[part.digest]):
                            digest.update(chunk)
                            target.write(chunk)
                        if "sha256:" + digest.hexdigest() != part.digest:
                            raise damaged(part.name, "it changed while it was read")
        return folder


class _Descriptor(Record, rename="camel", kw_only=True):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None


class _Index(Record, rename="camel", kw_only=True):
    schema_version: int
    media_type: str | None = None
    artifact_type: str | None = None
    manifests: list[_Descriptor]


class _Manifest(Record, rename="camel", kw_only=True):
    schema_version: int
    media_type: str
    artifact_type: str | None = None
    config: _Descriptor
    layers: list[_Descriptor]
    annotations: dict[str, str] | None = None


def open_package(path: Path) -> OpenedPackage:
    """Return the package in ``path``, checked.

    Raises:
        InputError: no such file.
        IntegrityError: anything in it is changed, missing, added or of another format version.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            raise InputError(f"{path} is no ordinary file", "give a .tpa that tpactl package wrote")
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", "check the path"
        ) from error
    with file:
        try:
            return _Reader(path, file, os.fstat(file.fileno()).st_size).open()
        except IntegrityError as error:
            raise IntegrityError(f"{path}: {error.problem}", error.fix, error.details) from error


class _Reader:
    """The steps of ``open_package``; later ones rely on what earlier ones checked."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size

    def open(self) -> OpenedPackage:
        members = scan(self._file, self._size)
        named = {m.name: m for m in members if not m.name.startswith(layout.BLOBS)}
        for name in (layout.LAYOUT_FILE, layout.INDEX_FILE):
            if name not in named:
                raise damaged(name, "it is missing; this is no OCI image layout")
        if self._json(named[layout.LAYOUT_FILE], layout.LAYOUT_FILE) != layout.LAYOUT:
            raise damaged(layout.LAYOUT_FILE, f"it must read {layout.LAYOUT}")
        self._blobs = {
            "sha256:" + m.name.rsplit("/", 1)[1]: m
            for m in members
            if m.name.startswith(layout.BLOBS)
        }
        self._actual = {digest: self._hash(m) for digest, m in self._blobs.items()}
        entry = self._index_entry(named[layout.INDEX_FILE])
        manifest_value = self._manifest_value(entry)
        manifest = convert(manifest_value, _Manifest, "manifest")
        layers = self._layers(manifest)
        self._check_blobs(entry, manifest, layers)
        record = self._record(layers)
        self._check_envelope(manifest_value, entry, manifest, record, layers)
        return self._opened(entry.digest, record, layers)

    def _index_entry(self, member: Member) -> _Descriptor:
        what = layout.INDEX_FILE
        index = convert(self._json(member, what, _MOST_INDEX_BYTES), _Index, what)
        if index.schema_version != 2 or index.media_type not in (None, layout.INDEX_TYPE):
            raise damaged(what, "it is no OCI image index of schema version 2")
        if index.artifact_type not in (None, layout.ARTIFACT_TYPE):
            raise damaged(what, f"its artifact type is {index.artifact_type!r}")
        if len(index.manifests) != 1:
            raise damaged(what, f"it lists {len(index.manifests)} manifests; a package has one")
        entry = index.manifests[0]
        if entry.media_type != layout.MANIFEST_TYPE:
            raise damaged(what, f"the manifest's media type is {entry.media_type!r}")
        if entry.artifact_type not in (None, layout.ARTIFACT_TYPE):
            raise damaged(what, f"the manifest's artifact type is {entry.artifact_type!r}")
        if entry.annotations is not None and entry.annotations.keys() != {layout.REF_NAME}:
            keys = ", ".join(sorted(entry.annotations)) or "none"
            raise damaged(
                what, f"the manifest's annotations are {keys}; expected {layout.REF_NAME}"
            )
        return entry

    def _manifest_value(self, entry: _Descriptor) -> Any:
        self._check_blob(entry, "manifest (of index.json)")
        value = self._json(self._blobs[entry.digest], "manifest")
        annotations = value.get("annotations") if isinstance(value, dict) else None
        stated = (
            annotations.get(layout.FORMAT_ANNOTATION) if isinstance(annotations, dict) else None
        )
        if stated is None:
            raise damaged("manifest", f"it has no {layout.FORMAT_ANNOTATION}; this is no package")
        if stated != str(FORMAT_VERSION):
            raise IntegrityError(
                f"it has format version {stated}; this tpactl reads {FORMAT_VERSION}",
                "install a newer tpactl: pip install --upgrade tpactl",
            )
        return value

    def _layers(self, manifest: _Manifest) -> dict[str, _Descriptor]:
        layers: dict[str, _Descriptor] = {}
        faults = []
        for layer in manifest.layers:
            name = (layer.annotations or {}).get(layout.FILEPATH, "")
            if name not in PARTS:
                faults.append(f"added: {name!r}")
            elif name in layers:
                faults.append(f"twice: {name}")
            elif layer.media_type != layout.PART_TYPES[name]:
                faults.append(f"{name}: media type {layer.media_type!r}")
            layers[name] = layer
        faults += [f"missing: {name}" for name in REQUIRED_PARTS if name not in layers]
        if faults:
            raise _broken("the manifest does not list a package's parts", faults)
        return layers

    def _check_blobs(
        self, entry: _Descriptor, manifest: _Manifest, layers: Mapping[str, _Descriptor]
    ) -> None:
        wanted = {"configuration": manifest.config, **layers}
        faults = []
        for name, descriptor in wanted.items():
            try:
                self._check_blob(descriptor, name)
            except IntegrityError as error:
                faults.append(error.problem)
        known = {entry.digest} | {descriptor.digest for descriptor in wanted.values()}
        faults += [f"added: {self._blobs[digest].name}" for digest in self._blobs.keys() - known]
        if faults:
            raise _broken("the package's content is not what its manifest says", sorted(faults))

    def _check_blob(self, descriptor: _Descriptor, what: str) -> None:
        digest = descriptor.digest
        if not _DIGEST.fullmatch(digest):
            raise damaged(what, f"its digest reads {digest[:80]!r}")
        if digest not in self._blobs:
            raise damaged(what, f"missing: the archive has no {digest}")
        if self._actual[digest] != digest:
            raise damaged(
                what, f"changed: expected {digest}, its content is {self._actual[digest]}"
            )
        if self._blobs[digest].size != descriptor.size:
            size = self._blobs[digest].size
            raise damaged(what, f"expected {descriptor.size} bytes, it has {size}")

    def _record(self, layers: Mapping[str, _Descriptor]) -> PackageRecord:
        record = self._typed(layers[RECORD_FILE], PackageRecord, RECORD_FILE)
        if record.format_version != FORMAT_VERSION:
            raise damaged(RECORD_FILE, f"its format version is {record.format_version}")
        if not is_name(record.name) or not is_version(record.version):
            raise damaged(RECORD_FILE, f"no package is called {record.name!r} {record.version!r}")
        expected = {n: layer.digest for n, layer in layers.items() if n != RECORD_FILE}
        if record.parts != expected:
            names = sorted(
                name
                for name in record.parts.keys() | expected.keys()
                if record.parts.get(name) != expected.get(name)
            )
            raise damaged(RECORD_FILE, f"its parts are not the manifest's: {', '.join(names)}")
        return record

    def _check_envelope(
        self,
        manifest_value: Any,
        entry: _Descriptor,
        manifest: _Manifest,
        record: PackageRecord,
        layers: Mapping[str, _Descriptor],
    ) -> None:
        """Raise where manifest, configuration or tag are not what the record makes of them."""
        blobs = {name: layout.Blob(layer.digest, layer.size) for name, layer in layers.items()}
        config = layout.model_config(record, blobs)
        expected = layout.manifest(record, layout.blob_of(config), blobs)
        if manifest_value != parse(expected, "manifest"):
            wanted = parse(expected, "manifest")
            keys = sorted(
                key
                for key in manifest_value.keys() | wanted.keys()
                if manifest_value.get(key) != wanted.get(key)
            )
            raise damaged("manifest", f"not what {RECORD_FILE} makes it in: {', '.join(keys)}")
        if entry.annotations is not None:
            tag = entry.annotations[layout.REF_NAME]
            if tag != record.version:
                raise damaged(
                    layout.INDEX_FILE, f"the tag is {tag!r}; the package's version {record.version}"
                )

    def _opened(
        self, digest: str, record: PackageRecord, layers: Mapping[str, _Descriptor]
    ) -> OpenedPackage:
        config = self._typed(layers[CONFIG_FILE], AdapterConfig, CONFIG_FILE)
        weights = self._blobs[layers[WEIGHTS_FILE].digest]
        self._file.seek(weights.offset)
        tensors = read_header(self._file, weights.size, WEIGHTS_FILE)
        check_adapter(config, tensors, record)
        evaluation = None
        if EVALUATION_FILE in layers:
            evaluation = self._typed(layers[EVALUATION_FILE], Report, EVALUATION_FILE)
            if evaluation.base_digest != record.base.digest:
                raise damaged(EVALUATION_FILE, "it was measured on another base")
            if not measured(evaluation, layers[WEIGHTS_FILE].digest):
                raise damaged(EVALUATION_FILE, "it was measured with another adapter")
        decision = None
        if GATE_FILE in layers:
            decision = self._typed(layers[GATE_FILE], GateRecord, GATE_FILE)
            check_decision(decision, evaluation, layers[WEIGHTS_FILE].digest)
        return OpenedPackage(
            path=self._path,
            size_bytes=self._size,
            digest=digest,
            record=record,
            config=config,
            parts=tuple(
                Part(name, layer.digest, layer.size, layer.media_type)
                for name, layer in sorted(layers.items(), key=lambda item: PARTS.index(item[0]))
            ),
            evaluation=evaluation,
            card=self._card(layers[CARD_FILE]),
            canary=canary.read(self._content(self._blobs[layers[CANARY_FILE].digest], CANARY_FILE)),
            decision=decision,
            _members=self._blobs,
        )

    def _card(self, layer: _Descriptor) -> str:
        try:
            card = self._content(self._blobs[layer.digest], CARD_FILE).decode()
        except UnicodeDecodeError as error:
            raise damaged(CARD_FILE, "it is not UTF-8") from error
        if has_control_characters(card, allowed="\n\t"):
            raise damaged(CARD_FILE, "it holds control characters")
        return card

    def _typed(self, layer: _Descriptor, kind: type[Any], what: str) -> Any:
        return convert(self._json(self._blobs[layer.digest], what), kind, what)

    def _json(self, member: Member, what: str, most: int = _MOST_JSON_BYTES) -> Any:
        return parse(self._content(member, what, most), what)

    def _content(self, member: Member, what: str, most: int = _MOST_JSON_BYTES) -> bytes:
        if member.size > most:
            raise damaged(what, f"{member.size} bytes; at most {most} are allowed")
        content = b"".join(_chunks(self._file, member))
        is_blob = member.name.startswith(layout.BLOBS)
        # Hashed once already; again, because the file may be written to meanwhile.
        if is_blob and hashlib.sha256(content).hexdigest() != member.name.rsplit("/", 1)[1]:
            raise damaged(what, "it changed while it was read")
        return content

    def _hash(self, member: Member) -> str:
        digest = hashlib.sha256()
        for chunk in _chunks(self._file, member):
            digest.update(chunk)
        return "sha256:" + digest.hexdigest()


def _chunks(file: BinaryIO, member: Member) -> Iterator[bytes]:
    file.seek(member.offset)
    left = member.size
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise damaged(member.name, "the file became shorter while it was read")
        left -= len(chunk)
        yield chunk


def _broken(problem: str, faults: list[str]) -> IntegrityError:
    return IntegrityError(problem, GET_IT_AGAIN, faults[:20])
