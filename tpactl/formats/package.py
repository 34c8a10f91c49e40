"""The records inside a ``.tpa`` package; ``docs/formats/package.md`` describes the envelope."""

from __future__ import annotations

from tpactl.formats.files import Record
from tpactl.formats.identity import BaseIdentity
from tpactl.formats.report import Report

FORMAT_VERSION = 1
SUFFIX = ".tpa"


class Provenance(Record):
    """From which run the package was made."""

    tpactl_version: str
    method: str
    data_digest: str
    best_step: int
    best_dev_wer: float
    base_dev_wer: float
    train_seconds: float
    trained_parameters: int
    train_speakers: list[str]
    train_text_digests: list[str]
    train_audio_digests: list[str]


class PackageRecord(Record):
    """``tpactl.json`` of a package: name, version, the base it belongs to, where it came from."""

    format_version: int = FORMAT_VERSION
    name: str
    """``department/task``."""
    version: str
    base_ref: str
    base: BaseIdentity
    parts: dict[str, str]
    """File name to ``sha256:<hex>`` of every other part."""
    provenance: Provenance
    evaluation: Report | None
    """``None``: unevaluated."""
