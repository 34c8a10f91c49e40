"""``tpactl.json``: what a ``.tpa`` package says about itself.

The parts of a package, each a layer of its OCI manifest (``docs/formats/package.md``):

    adapter_model.safetensors            the trained tensors, byte for byte those of the run
    adapter_config.json                  AdapterConfig
    tpactl.json                          PackageRecord
    canary.safetensors                   a short input and the logits it must give
    README.md                            the model card
    evaluation.json                      Report; absent where the package is unevaluated
    gate.json                            GateRecord; absent where no gate judged the evaluation
"""

from __future__ import annotations

from tpactl.formats.adapter import CONFIG_FILE, WEIGHTS_FILE
from tpactl.formats.files import Record
from tpactl.formats.gate import GATE_FILE
from tpactl.formats.identity import BaseIdentity

FORMAT_VERSION = 1
SUFFIX = ".tpa"

RECORD_FILE = "tpactl.json"
CANARY_FILE = "canary.safetensors"
CARD_FILE = "README.md"
EVALUATION_FILE = "evaluation.json"

REQUIRED_PARTS = (WEIGHTS_FILE, CONFIG_FILE, RECORD_FILE, CANARY_FILE, CARD_FILE)
PARTS = (*REQUIRED_PARTS, EVALUATION_FILE, GATE_FILE)
"""Every part of format version 1, in the order of the manifest's layers."""


class Provenance(Record, kw_only=True):
    """From which run the package was made."""

    tpactl_version: str
    """That trained the run."""
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


class PackageRecord(Record, kw_only=True):
    """``tpactl.json`` of a package: name, version, the base it belongs to, where it came from."""

    format_version: int = FORMAT_VERSION
    name: str
    """``department/task``."""
    version: str
    """Semantic version 2.0 without build metadata; also the OCI tag."""
    base_ref: str
    """``starter``, a hub id, or the last name of a folder; never a machine's path."""
    base: BaseIdentity
    parts: dict[str, str]
    """File name to ``sha256:<hex>`` of every other part."""
    provenance: Provenance
