"""``adapter_config.json``: what an adapter is, in PEFT's key names, and the base it belongs to.

DIR/adapter_config.json              AdapterConfig
DIR/adapter_model.safetensors        the adapter's tensors and the trained head's
"""

from __future__ import annotations

from typing import Literal

from tpactl.formats.files import Record

SCHEMA_VERSION = 1
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


class TPASettings(Record, kw_only=True):
    """The shape of a Two Parallel Adapter; the keys under ``adapter.`` of a run file.

    Source: Chen et al. 2023, arXiv:2306.08131; He et al. 2022, arXiv:2110.04366.
    """

    bottleneck_dim: int = 32
    """Width of each of the two bottlenecks of a block."""
    input: Literal["ffn", "residual"] = "ffn"
    """``ffn``: the feed-forward module's own (normalised) input; ``residual``: the block's stream
    before the norm."""
    activation: Literal["ffn", "relu", "silu", "gelu"] = "ffn"
    """``ffn`` takes the feed-forward module's own."""
    scale: float | Literal["learned"] = 1.0
    """Factor on the adapter's output; ``learned`` trains one scalar a site, starting at 1."""
    dropout: float = 0.0
    initialisation: Literal["uniform", "kaiming"] = "uniform"
    """Of ``W_down``: uniform within ``1/sqrt(d_model)``, or within ``sqrt(6/d_model)`` (He et al.
    2015, arXiv:1502.01852), 2.4 times as wide. Both biases and ``W_up`` start at zero."""
    blocks: list[int] | Literal["all", "upper-half", "upper-quarter"] = "all"
    """Which blocks, counted from 0 at the audio side."""


class AdapterConfig(Record, kw_only=True):
    """How to rebuild an adapter on its base.

    ``target_modules`` are exact module paths, never patterns: a name that matches too much or
    nothing is how adapters get lost elsewhere.
    """

    schema_version: int = SCHEMA_VERSION
    peft_type: str
    """``TPA`` or ``HEAD``."""
    task_type: str = "CTC"
    inference_mode: bool = True
    base_model_name_or_path: str
    revision: str | None = None
    base_model_digest: str
    """``BaseIdentity.digest`` of the base it was trained on."""
    target_modules: list[str]
    modules_to_save: list[str]
    """Modules of the base trained whole and stored with the adapter (the CTC head)."""
    bottleneck_dim: int | None = None
    adapter_input: str | None = None
    activation: str | None = None
    scale: float | Literal["learned"] | None = None
    adapter_dropout: float | None = None
    initialisation: str | None = None
    """Absent from the files of earlier versions, which knew ``uniform`` alone."""
    blocks: list[int] = []
    num_parameters: int
