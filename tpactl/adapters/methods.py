"""The registry of methods: what ``--method`` may name, and the shape each has where nothing is set.

A new method is one file with a function ``build``, and one call of ``register`` here;
``templates/method.py`` is its skeleton. The method ``full`` is no adapter: training unfreezes the
model itself. No torch here: the command line reads this for its help.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tpactl.errors import MachineError, UsageError
from tpactl.formats.adapter import BitFitSettings, IA3Settings, LoRASettings, Shape

FULL = "full"


@dataclass(frozen=True)
class Method:
    """One way to adapt a base without changing it."""

    name: str
    peft_type: str
    """As ``adapter_config.json`` names it; together with ``marks`` it is the method's alone."""
    summary: str
    """What is trained, for ``tpactl train --help``."""
    title: str
    """What the result is, for a model card."""
    module: str
    """Dotted name of the module that holds ``build``, see ``adapters.attach.Build``."""
    needs: str | None = None
    """The library it is built on, whose name is that of the extra that installs it."""
    section: str | None = None
    """The section of a run file that shapes it; ``None`` for a method without a shape."""
    defaults: msgspec.Struct | None = None
    """Every key of its section, as it is where nothing is set."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys of the section that ``adapter_config.json`` calls otherwise."""
    marks: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of ``adapter_config.json``, the same for every adapter of the method."""


METHODS: dict[str, Method] = {}


def register(method: Method) -> None:
    """Add ``method``.

    Raises:
        ValueError: a bug: its name, or its PEFT type with its marks, is taken.
    """
    if method.name in (*METHODS, FULL):
        raise ValueError(f"adapter method {method.name!r} is registered twice")
    for other in METHODS.values():
        if (other.peft_type, dict(other.marks)) == (method.peft_type, dict(method.marks)):
            raise ValueError(f"peft_type {method.peft_type!r} is registered twice")
    METHODS[method.name] = method


def find(name: str) -> Method:
    """Return the method called ``name``.

    Raises:
        UsageError: there is none; the message names the closest.
    """
    if name in METHODS:
        return METHODS[name]
    known = [*METHODS, FULL]
    close = difflib.get_close_matches(name, known, n=1)
    raise UsageError(
        f"method: no method {name!r}" + (f"; the closest is {close[0]}" if close else ""),
        f"choose one of: {', '.join(known)}",
    )


def require(method: Method) -> None:
    """Refuse a method whose library is not installed; it is not imported for that.

    Raises:
        MachineError: with what to install.
    """
    if method.needs is not None and importlib.util.find_spec(method.needs) is None:
        raise MachineError(
            f"method {method.name} needs {method.needs}, which is not installed",
            f"pip install 'tpactl[{method.needs}]'",
        )


_BOTTLENECK_KEYS = {"input": "adapter_input", "dropout": "adapter_dropout"}


def _residual(name: str, summary: str, title: str, shape: Shape) -> Method:
    return Method(
        name=name,
        peft_type=name.upper(),
        summary=summary,
        title=title,
        module="tpactl.adapters.residual",
        section="adapter",
        defaults=shape,
        keys=_BOTTLENECK_KEYS,
    )


register(
    _residual(
        "tpa",
        "two parallel adapters a block",
        "A Two Parallel Adapter",
        # The wide start is what the frozen module's own input needs to be worth as much as the
        # residual stream: docs/decisions/tpa-defaults.md.
        Shape(bottleneck_dim=80, dropout=0.1, initialisation="kaiming"),
    )
)
register(
    _residual(
        "houlsby",
        "sequential adapters after attention and both feed-forward modules",
        "Sequential (Houlsby) adapters",
        # Houlsby et al. 2019, arXiv:1902.00751, sec. 2.1: after every sublayer, before its skip
        # connection; the Conformer's macaron pair makes three.
        Shape(form="sequential", sites=("ffn1", "attention", "ffn2"), activation="relu"),
    )
)
register(
    _residual(
        "pfeiffer",
        "one sequential adapter a block, after its last feed-forward module",
        "Sequential (Pfeiffer) adapters",
        # Pfeiffer et al. 2021, arXiv:2005.00247: only after the feed-forward module.
        Shape(form="sequential", sites=("ffn2",), activation="relu"),
    )
)
register(
    _residual(
        "parallel",
        "one scaled parallel adapter a block, beside its last feed-forward module",
        "Scaled parallel adapters",
        # He et al. 2022, arXiv:2110.04366: beside the feed-forward module, s = 4.
        Shape(sites=("ffn2",), activation="relu", scale=4.0),
    )
)
_LORA_KEYS = {"alpha": "lora_alpha", "dropout": "lora_dropout"}
register(
    Method(
        name="lora",
        peft_type="LORA",
        summary="low-rank updates of linear layers (extra peft)",
        title="A LoRA adapter",
        module="tpactl.adapters.lora",
        needs="peft",
        section="lora",
        defaults=LoRASettings(),
        keys=_LORA_KEYS,
        marks={"use_dora": False},
    )
)
register(
    Method(
        name="dora",
        peft_type="LORA",
        summary="the same, magnitude and direction apart (extra peft)",
        title="A DoRA adapter",
        module="tpactl.adapters.dora",
        needs="peft",
        section="lora",
        defaults=LoRASettings(),
        keys=_LORA_KEYS,
        marks={"use_dora": True},
    )
)
register(
    Method(
        name="ia3",
        peft_type="IA3",
        summary="factors on keys, values and hidden units (extra peft)",
        title="An (IA)³ adapter",
        module="tpactl.adapters.ia3",
        needs="peft",
        section="ia3",
        defaults=IA3Settings(),
    )
)
register(
    Method(
        name="bitfit",
        peft_type="BITFIT",
        summary="biases of its own",
        title="Trained biases (BitFit)",
        module="tpactl.adapters.bitfit",
        section="bitfit",
        defaults=BitFitSettings(),
    )
)
register(
    Method(
        name="head",
        peft_type="HEAD",
        summary="the head alone",
        title="A trained head",
        module="tpactl.adapters.head",
    )
)
