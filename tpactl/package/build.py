"""Make a ``.tpa`` from a run: check that everything belongs together, then write it whole.

Reads RUN (``run.json``, ``adapter/``), the evaluation's ``report.json`` and the base; writes one
file. Its bytes depend on those and on name and version: no time, path, user or locale. The canary's
logits are computed, so their last bits follow the kind of processor; ``reproduce`` is for that.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tpactl.errors import BaseError, InputError, UsageError
from tpactl.formats.adapter import CONFIG_FILE, WEIGHTS_FILE, AdapterConfig
from tpactl.formats.files import canonical_json, read_json, to_builtins
from tpactl.formats.gate import GATE_FILE
from tpactl.formats.package import (
    CANARY_FILE,
    CARD_FILE,
    EVALUATION_FILE,
    RECORD_FILE,
    PackageRecord,
    Provenance,
)
from tpactl.formats.progress import Progress
from tpactl.formats.run import Run, RunRecord
from tpactl.package import canary, layout
from tpactl.package.agreement import read_decision, read_evaluation
from tpactl.package.archive import whole_file, write
from tpactl.package.card import write_card
from tpactl.package.names import check_name, check_version, portable
from tpactl.package.read import OpenedPackage, open_package
from tpactl.package.strict import has_control_characters

if TYPE_CHECKING:
    from tpactl.bases.base import Base

_MOST_CARD_BYTES = 1024 * 1024


@dataclass(frozen=True)
class PackageResult:
    """What was written, opened again and checked."""

    path: Path
    package: OpenedPackage

    @property
    def digest(self) -> str:
        """Of the manifest: the one string to publish."""
        return self.package.digest


def check_run(run: Path) -> Run:
    """Return the run in ``run`` if it can be packaged; needs no base.

    Raises:
        UsageError: it was trained with the method ``full``.
        InputError: no finished run with its adapter is there.
    """
    opened = Run(run)
    if opened.record.config.method == "full":
        raise UsageError(
            f"{run} is a full fine-tune: all {opened.record.cost.trained_parameters:,} parameters "
            "changed, so there is no adapter to package",
            "train with another --method; a full model is stored as an ordinary directory in "
            f"{opened.model_folder}",
        )
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        if not (opened.adapter_folder / name).is_file():
            raise InputError(
                f"{opened.adapter_folder / name} is missing", "train again; the run is not whole"
            )
    return opened


def build(
    run: Path,
    *,
    name: str,
    version: str,
    out: Path,
    base: Base,
    evaluation: Path | None = None,
    card: Path | None = None,
    reproduce: Path | None = None,
    force: bool = False,
    on_progress: Progress | None = None,
) -> PackageResult:
    """Write the package ``name`` ``version`` of a run to ``out``, whole or not at all.

    Args:
        run: what ``tpactl train`` wrote, by any method but ``full``.
        name: ``department/task``.
        version: semantic version; becomes the OCI tag.
        out: the file to write.
        base: the run's base, on the CPU in float32.
        evaluation: what ``tpactl eval --out`` wrote for this very run, and the decision of
            ``tpactl gate`` where it is there.
        card: Markdown of the department for the model card: use, limits, licence, owner.
        reproduce: an earlier package of the same run. Its canary's measured logits are taken over,
            after a check, so that the bytes can be equal on another kind of processor.
        force: replace an existing ``out``.
        on_progress: called with (stage, done, total).

    Raises:
        UsageError: a name, version or run that cannot be packaged.
        InputError: ``out`` exists, or evaluation or decision are somebody else's.
        BaseError: ``base`` is not the run's base.
        IntegrityError: the run's adapter is damaged.
        MachineError: the disk is full.
    """
    report_progress = on_progress or (lambda stage, done, total: None)
    check_name(name)
    check_version(version)
    check_out(out, force=force)
    opened = check_run(run)
    report_progress("read the run", 0, 3)
    _check_base(opened.record, base)
    weights = opened.adapter_folder / WEIGHTS_FILE
    weights_blob = _blob_of_file(weights)
    report = decision = None
    if evaluation is not None:
        report = read_evaluation(evaluation, opened.record, weights_blob.digest)
        decision = read_decision(evaluation, weights_blob.digest)
    config = read_json(opened.adapter_folder / CONFIG_FILE, AdapterConfig)
    base_ref = portable(opened.record.base_ref)
    report_progress("compute the canary", 1, 3)
    if reproduce is None:
        made = canary.make(base, opened.adapter_folder)
    else:
        made = _canary_of(reproduce, base, opened.adapter_folder, weights_blob.digest)

    contents: dict[str, bytes | Path] = {
        WEIGHTS_FILE: weights,
        CONFIG_FILE: _readable_json(
            msgspec.structs.replace(config, base_model_name_or_path=base_ref)
        ),
        CANARY_FILE: made.to_bytes(),
        CARD_FILE: write_card(
            name,
            version,
            base_ref,
            opened.record,
            report,
            _read_card(card),
            base.identity.decoder,
        ).encode(),
    }
    if report is not None:
        contents[EVALUATION_FILE] = _readable_json(report)
    if decision is not None:
        contents[GATE_FILE] = _readable_json(decision)
    blobs = {
        part: weights_blob if isinstance(content, Path) else layout.blob_of(content)
        for part, content in contents.items()
    }
    record = PackageRecord(
        name=name,
        version=version,
        base_ref=base_ref,
        base=base.identity,
        parts={part: blob.digest for part, blob in sorted(blobs.items())},
        provenance=_provenance(opened.record),
    )
    record_json = _readable_json(record)
    contents[RECORD_FILE] = record_json
    blobs[RECORD_FILE] = layout.blob_of(record_json)
    report_progress("write the archive", 2, 3)
    _write(out, record, contents, blobs)
    report_progress("write the archive", 3, 3)
    return PackageResult(out, open_package(out))


def check_out(out: Path, *, force: bool) -> None:
    """Raise where ``out`` cannot be written without losing something.

    Raises:
        InputError: it exists and ``force`` is not set, or it is a folder.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder", "give the name of a file: --out FILE.tpa")
    if out.exists() and not force:
        raise InputError(
            f"{out} exists already", "choose another --out, or replace it with --force"
        )


def _canary_of(
    earlier: Path, base: Base, adapter_folder: Path, weights_digest: str
) -> canary.Canary:
    """Return the canary of an earlier package of the same adapter, if it still sings here."""
    package = open_package(earlier)
    if package.record.parts[WEIGHTS_FILE] != weights_digest or package.record.base != base.identity:
        raise InputError(
            f"{earlier} is no package of this run: it holds another adapter or names another base",
            "give the package that is to be reproduced, or leave --reproduce out",
        )
    canary.check(canary.compute(package.canary, base, adapter_folder))
    return package.canary


def _check_base(record: RunRecord, base: Base) -> None:
    if base.identity.digest != record.base_digest:
        from tpactl.bases.rightful import way_to_base

        raise BaseError(
            f"the run was trained on the base {record.base_ref} ({record.base_digest[:19]}), "
            f"{base.ref} is another one ({base.identity.digest[:19]})",
            way_to_base(record.base_ref, record.base_digest),
        )


def _blob_of_file(path: Path) -> layout.Blob:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return layout.Blob("sha256:" + digest, file.tell())


def _read_card(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
        text = content.decode()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror or error}", "check the path given as --card"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: {error}", "save the card as UTF-8") from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if len(content) > _MOST_CARD_BYTES or has_control_characters(text, allowed="\n\t"):
        raise InputError(
            f"{path}: not a Markdown text of at most {_MOST_CARD_BYTES} bytes "
            "without control characters",
            "give a Markdown file as --card",
        )
    return text


def _provenance(run: RunRecord) -> Provenance:
    return Provenance(
        tpactl_version=run.tpactl_version,
        method=run.config.method,
        data_digest=run.data_digest,
        best_step=run.best_step,
        best_dev_wer=run.best_dev_wer,
        base_dev_wer=run.base_dev_wer,
        train_seconds=run.cost.seconds,
        trained_parameters=run.cost.trained_parameters,
        train_speakers=run.train_speakers,
        train_text_digests=run.train_text_digests,
        train_audio_digests=run.train_audio_digests,
    )


def _readable_json(record: object) -> bytes:
    # Sorted and indented: equal records give equal bytes, and a person can read them.
    text = json.dumps(
        to_builtins(record), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
    )
    return text.encode() + b"\n"


def _write(
    out: Path,
    record: PackageRecord,
    contents: dict[str, bytes | Path],
    blobs: dict[str, layout.Blob],
) -> None:
    config = layout.model_config(record, blobs)
    manifest = layout.manifest(record, layout.blob_of(config), blobs)
    members: dict[str, bytes | Path] = {
        layout.LAYOUT_FILE: canonical_json(layout.LAYOUT),
        layout.INDEX_FILE: layout.index(record, layout.blob_of(manifest)),
        _blob_name(layout.blob_of(config)): config,
        _blob_name(layout.blob_of(manifest)): manifest,
        **{_blob_name(blobs[part]): content for part, content in contents.items()},
    }
    with whole_file(out) as file:
        write(file, members)
        file.flush()
        # Nobody gets a package that verify would refuse, whatever was wrong with the run.
        open_package(Path(file.name))


def _blob_name(blob: layout.Blob) -> str:
    return f"{layout.BLOBS}/{blob.digest.removeprefix('sha256:')}"
