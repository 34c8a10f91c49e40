"""The envelope of a package: an OCI image layout with ModelPack's media types.

Everything here follows from a ``PackageRecord`` and the parts' digests and sizes. ``build`` writes
what these functions return and ``read`` demands exactly the same, so nothing in manifest or
configuration goes unchecked. Frozen for format version 1: a package of today must verify for ever.

Source: OCI image-spec v1.1 (image-layout.md, manifest.md), CNCF ModelPack model-spec v0.0.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tpactl.formats.adapter import CONFIG_FILE, WEIGHTS_FILE
from tpactl.formats.files import canonical_json, sha256_of
from tpactl.formats.gate import GATE_FILE
from tpactl.formats.package import (
    CANARY_FILE,
    CARD_FILE,
    EVALUATION_FILE,
    FORMAT_VERSION,
    PARTS,
    RECORD_FILE,
    PackageRecord,
)

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
BLOBS = "blobs/sha256"
LAYOUT = {"imageLayoutVersion": "1.0.0"}

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
PART_TYPES = {
    WEIGHTS_FILE: "application/vnd.cncf.model.weight.v1.raw",
    CONFIG_FILE: "application/vnd.cncf.model.weight.config.v1.raw",
    RECORD_FILE: "application/vnd.cncf.model.weight.config.v1.raw",
    CANARY_FILE: "application/vnd.cncf.model.dataset.v1.raw",
    CARD_FILE: "application/vnd.cncf.model.doc.v1.raw",
    EVALUATION_FILE: "application/vnd.cncf.model.doc.v1.raw",
    GATE_FILE: "application/vnd.cncf.model.doc.v1.raw",
}

FILEPATH = "org.cncf.model.filepath"
REF_NAME = "org.opencontainers.image.ref.name"
FORMAT_ANNOTATION = "dev.tpactl.format-version"


@dataclass(frozen=True)
class Blob:
    """Digest (``sha256:<hex>``) and size of some content."""

    digest: str
    size: int


def blob_of(content: bytes) -> Blob:
    """Return digest and size of ``content``."""
    return Blob(sha256_of(content), len(content))


def model_config(record: PackageRecord, parts: Mapping[str, Blob]) -> bytes:
    """Return ModelPack's configuration; its schema is closed, so it says little of ours."""
    return canonical_json(
        {
            "descriptor": {
                "family": f"conformer-{record.base.decoder}",
                "name": record.name,
                "title": f"{record.name} {record.version}",
                "version": record.version,
            },
            "modelfs": {
                "type": "layers",
                # Raw layers: the uncompressed content is the layer itself.
                "diffIds": [parts[name].digest for name in PARTS if name in parts],
            },
            "config": {
                "architecture": "conformer",
                "format": "safetensors",
                "capabilities": {"inputTypes": ["audio"], "outputTypes": ["text"]},
            },
        }
    )


def manifest(record: PackageRecord, config: Blob, parts: Mapping[str, Blob]) -> bytes:
    """Return the OCI manifest: one layer a part, and the base binding as annotations."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [
                {**_descriptor(PART_TYPES[name], parts[name]), "annotations": {FILEPATH: name}}
                for name in PARTS
                if name in parts
            ],
            "annotations": {
                "org.opencontainers.image.title": record.name,
                "org.opencontainers.image.version": record.version,
                FORMAT_ANNOTATION: str(FORMAT_VERSION),
                "dev.tpactl.base.digest": record.base.digest,
                "dev.tpactl.base.name": record.base_ref,
                "dev.tpactl.evaluated": "true" if EVALUATION_FILE in parts else "false",
            },
        }
    )


def index(record: PackageRecord, manifest: Blob) -> bytes:
    """Return ``index.json``: the manifest's digest under the version as its tag."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE,
            "manifests": [
                {
                    **_descriptor(MANIFEST_TYPE, manifest),
                    "annotations": {REF_NAME: record.version},
                }
            ],
        }
    )


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}
