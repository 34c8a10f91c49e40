"""Save an adapter to a folder and load it back, whole and on the right base or not at all."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import UNSET
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as serialise_safetensors
from torch import Tensor

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.attach import make
from tpactl.adapters.methods import METHODS, Method
from tpactl.bases.base import Base
from tpactl.bases.rightful import way_to_base
from tpactl.errors import BaseError, InputError, IntegrityError, UsageError
from tpactl.formats.adapter import CONFIG_FILE, SCHEMA_VERSION, WEIGHTS_FILE, AdapterConfig
from tpactl.formats.files import read_json, write_bytes, write_json

_AGAIN = "copy the adapter again from where it was trained"

_FIRST_VERSION = {"form": "parallel", "sites": ["ffn1", "ffn2"], "initialisation": "uniform"}
"""What the first files, which say nothing of it, all had."""


def save(adapter: Adapter, folder: Path) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in adapter.tensors().items()}
    write_bytes(folder / WEIGHTS_FILE, serialise_safetensors(tensors))
    write_json(folder / CONFIG_FILE, adapter.config(adapter.base.identity.digest))


def read_config(folder: Path) -> AdapterConfig:
    """Return the configuration of the adapter in ``folder``.

    Raises:
        InputError: none is there, or one of another schema version.
    """
    config = read_json(folder / CONFIG_FILE, AdapterConfig)
    if config.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{folder / CONFIG_FILE} has schema version {config.schema_version}; "
            f"this tpactl reads {SCHEMA_VERSION}",
            "use the tpactl that wrote it, or train again",
        )
    return config


def load(base: Base, folder: Path, *, name: str = "default", check_base: bool = True) -> Adapter:
    """Return the adapter in ``folder`` on ``base``, inactive.

    Args:
        base: where it belongs.
        folder: what ``save`` wrote.
        name: for messages and for choosing among several.
        check_base: refuse a base other than the one it was trained on.

    Raises:
        BaseError: it was trained on another base.
        InputError: no adapter is there.
        IntegrityError: its tensors are not exactly those its configuration describes.
    """
    config = read_config(folder)
    if check_base and config.base_model_digest != base.identity.digest:
        raise BaseError(
            f"adapter {name!r} was trained on the base "
            f"{config.base_model_name_or_path} ({config.base_model_digest[:19]}), "
            f"not on {base.ref} ({base.identity.digest[:19]})",
            way_to_base(config.base_model_name_or_path, config.base_model_digest),
        )
    adapter = _rebuild(base, config, folder, name)
    adapter.load_tensors(_read_tensors(folder / WEIGHTS_FILE))
    adapter.eval().requires_grad_(False)
    return adapter


def _rebuild(base: Base, config: AdapterConfig, folder: Path, name: str) -> Adapter:
    method = _method(config, folder)
    try:
        adapter = make(
            base, method, _settings(method, config, folder), config.modules_to_save, name
        )
    except UsageError as error:
        raise IntegrityError(
            f"{folder / CONFIG_FILE}: {error.problem}", _AGAIN, error.details
        ) from error
    rebuilt = adapter.config(config.base_model_digest)
    for key in ("target_modules", "modules_to_save", "num_parameters"):
        if getattr(rebuilt, key) != getattr(config, key):
            raise IntegrityError(
                f"{folder / CONFIG_FILE}: {key} is not what its other settings give on {base.ref}",
                _AGAIN,
                [f"stored:   {getattr(config, key)}", f"expected: {getattr(rebuilt, key)}"],
            )
    return adapter


def _method(config: AdapterConfig, folder: Path) -> Method:
    for method in METHODS.values():
        marks = {key: getattr(config, key) for key in method.marks}
        if (method.peft_type, dict(method.marks)) == (config.peft_type, marks):
            return method
    raise InputError(
        f"{folder / CONFIG_FILE}: peft_type is {config.peft_type!r}, unknown to tpactl",
        "load it with the tool that trained it",
    )


def _settings(method: Method, config: AdapterConfig, folder: Path) -> msgspec.Struct | None:
    if method.defaults is None:
        return None
    stored = {}
    for key in method.defaults.__struct_fields__:
        value = getattr(config, method.keys.get(key, key))
        stored[key] = _FIRST_VERSION.get(key) if value in (UNSET, None) else value
    missing = [key for key, value in stored.items() if value is None]
    if missing:
        raise IntegrityError(
            f"{folder / CONFIG_FILE}: a {config.peft_type} without {', '.join(missing)}", _AGAIN
        )
    try:
        return msgspec.convert(stored, type(method.defaults))
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{folder / CONFIG_FILE}: {error}", _AGAIN) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return dict(parse_safetensors(path.read_bytes()))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", "give a folder that holds an adapter") from error
    except SafetensorError as error:
        raise IntegrityError(
            f"{path}: not a whole safetensors file: {error}",
            _AGAIN,
        ) from error
