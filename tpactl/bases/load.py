"""Find a base by its name and load it, whole or not at all."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tpactl.bases.base import Base
from tpactl.bases.blocks import find_blocks
from tpactl.bases.families import FAMILIES
from tpactl.bases.identity import FEATURE_FILES, TOKENIZER_FILES, check_files
from tpactl.errors import BaseError, MachineError, reason_of
from tpactl.shipped import starter_base

STARTER = "starter"


def resolve(ref: str, *, download: bool = True) -> Path:
    """Return the model directory of ``starter``, a directory, or ``HUB_ID[@REVISION]``.

    A hub id is taken from the local cache where it is there, and else downloaded.

    Args:
        ref: one of the three.
        download: whether it may be.

    Raises:
        BaseError: no such directory or model.
        MachineError: it would have to be downloaded and cannot be.
    """
    if ref == STARTER:
        path = starter_base()
        if not (path / "config.json").is_file():
            raise MachineError(
                f"the starter base is missing from this installation ({path})",
                "install tpactl again",
            )
        return path
    if ref and Path(ref).is_dir():
        return Path(ref).resolve()
    looks_like_hub = ref.count("/") == 1 and not ref.startswith((".", "/", "~"))
    if not looks_like_hub:
        raise BaseError(
            f"no base called {ref!r}: neither the word starter, nor a directory, nor a hub id",
            "check the path, or give a hub id such as nvidia/parakeet-ctc-1.1b",
        )
    return _from_hub(ref, download)


def _from_hub(ref: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    repository, _, revision = ref.partition("@")
    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.spm"]
    for cached_only in (True, False) if download else (True,):
        try:
            return Path(
                snapshot_download(
                    repository,
                    revision=revision or None,
                    allow_patterns=wanted,
                    local_files_only=cached_only,
                )
            )
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise BaseError(
                f"no model {repository!r} on the hub, and no such directory",
                "check the name; a private model needs: hf auth login",
            ) from error
        except Exception as error:
            # The hub's client raises a dozen kinds here; whichever it is, the model did not come.
            if not (cached_only and download):
                raise MachineError(
                    f"base {ref!r} is no directory and not in the local cache, "
                    f"and could not be downloaded: {reason_of(error)}",
                    "check the path; for a hub id go online once, or give a downloaded directory",
                ) from error
    raise AssertionError("unreachable")


def load_base(ref: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Base:
    """Return the base ``ref``, frozen and in ``eval()``.

    Args:
        ref: as ``resolve``.
        device: a torch device name; see ``tpactl.bases.devices.choose``.
        dtype: of the weights in memory, whatever they are on disk.

    Raises:
        BaseError: neither a CTC model nor a transducer, or one without Conformer blocks, or weights
            missing from its files.
        MachineError: the device's memory does not hold it.
    """
    from tpactl.bases.quiet import quiet

    quiet()
    path = resolve(ref)
    model = _load_model(ref, path, dtype)
    family, blocks = find_blocks(model, FAMILIES)
    tokenizer, feature_extractor = _load_processors(ref, path)
    model.eval().requires_grad_(False)
    try:
        model.to(device)
    except torch.OutOfMemoryError as error:
        raise MachineError(
            f"base {ref!r} does not fit into the memory of {device}",
            "free the device, use --device cpu, or choose a smaller base",
        ) from error
    return Base(
        ref=ref,
        path=path,
        model=model,
        tokenizer=tokenizer,
        feature_extractor=feature_extractor,
        family=family,
        blocks=blocks,
    )


def twin(base: Base) -> Base:
    """Return ``base`` once more: the same tensors, in modules of its own.

    What is put on the modules of one, such as an adapter, is not on those of the other, so each of
    two threads may recognise with its own.

    Args:
        base: without an adapter in place.
    """
    if base.active_adapter is not None:
        raise ValueError("an adapter is in place: its hooks would be copied")
    shared = {id(tensor): tensor for tensor in (*base.model.parameters(), *base.model.buffers())}
    model = copy.deepcopy(base.model, shared)
    family, blocks = find_blocks(model, FAMILIES)
    made = Base(
        ref=base.ref,
        path=base.path,
        model=model,
        tokenizer=copy.deepcopy(base.tokenizer),
        feature_extractor=copy.deepcopy(base.feature_extractor),
        family=family,
        blocks=blocks,
    )
    made.identity = base.identity
    return made


def _load_model(ref: str, path: Path, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoConfig

    check_files(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        model, info = _model_class(config).from_pretrained(
            path, config=config, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (ValueError, OSError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        families = ", ".join(family.name for family in FAMILIES)
        raise BaseError(
            f"base {ref!r} cannot be loaded as a CTC model or a transducer: {reason_of(error)}",
            f"give a Conformer CTC model of one of these families: {families}; or a Parakeet "
            "transducer (RNN-T or TDT)",
        ) from error
    _refuse_incomplete(ref, info)
    return model


def _model_class(config: Any) -> Any:
    """Return the class that reads a model of this configuration; CTC where none is known."""
    from transformers import AutoModelForCTC, ParakeetForRNNT, ParakeetForTDT

    # By their names: other transducers of transformers have other networks and streaming encoders.
    transducers = {"parakeet_rnnt": ParakeetForRNNT, "parakeet_tdt": ParakeetForTDT}
    return transducers.get(config.model_type, AutoModelForCTC)


def _refuse_incomplete(ref: str, info: dict[str, Any]) -> None:
    """Raise where transformers filled a gap with random numbers or passed over a tensor."""
    faults = {
        "missing from its files": info.get("missing_keys"),
        "of another shape than its configuration": info.get("mismatched_keys"),
        "unknown to its model class": info.get("unexpected_keys"),
    }
    details = [
        f"{len(keys)} {what}: {', '.join(sorted(map(str, keys))[:5])}"
        for what, keys in faults.items()
        if keys
    ]
    if details:
        raise BaseError(
            f"base {ref!r}: weights and model class do not belong together",
            "give a model with a trained head, saved by its own class",
            details,
        )


def _load_processors(ref: str, path: Path) -> tuple[Any, Any]:
    from transformers import AutoFeatureExtractor, AutoTokenizer

    tokenizer = _load_part(ref, path, "tokenizer", AutoTokenizer)
    feature_extractor = _load_part(ref, path, "feature extractor", AutoFeatureExtractor)
    rate = getattr(feature_extractor, "sampling_rate", None)
    if rate != 16_000:
        raise BaseError(
            f"base {ref!r} expects audio at {rate} Hz; tpactl prepares 16000 Hz",
            "choose a base for 16 kHz",
        )
    return tokenizer, feature_extractor


def _load_part(ref: str, path: Path, what: str, loader: Any) -> Any:
    try:
        return loader.from_pretrained(path, local_files_only=True)
    except Exception as error:
        # Broken tokenizer files raise plain Exception from the Rust library underneath.
        files = TOKENIZER_FILES if what == "tokenizer" else FEATURE_FILES
        present = [name for name in files if (path / name).is_file()]
        if not present:
            reason = f"none of these files is there: {', '.join(files)}"
        elif isinstance(error, KeyError):
            reason = f"{', '.join(present)} without the key {error}"
        else:
            reason = reason_of(error)
        raise BaseError(
            f"base {ref!r}: its {what} cannot be loaded: {reason}",
            f"copy the {what}'s files from where the model came from into {path}",
        ) from error
