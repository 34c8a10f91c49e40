"""``adapter_config.json``: what an adapter is, in PEFT's key names, and the base it belongs to.

DIR/adapter_config.json              AdapterConfig
DIR/adapter_model.safetensors        the adapter's tensors and those of the trained decoder modules

Also the sections of a run file that shape an adapter: one record for each family of methods.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from tpactl.formats.files import Record

SCHEMA_VERSION = 1
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

Site = Literal["ffn1", "attention", "conv", "ffn2", "block"]
"""Where in a block a bottleneck may stand: at one of its modules, or at its output."""
LayerName = Literal[
    "ffn1.in",
    "ffn1.out",
    "attention.q",
    "attention.k",
    "attention.v",
    "attention.o",
    "conv.in",
    "conv.out",
    "ffn2.in",
    "ffn2.out",
]
"""The linear layers of a block; the convolution module's are pointwise convolutions."""
Blocks = list[int] | Literal["all", "upper-half", "upper-quarter"]
"""Which blocks, counted from 0 at the audio side."""

Form = Literal["parallel", "sequential"]
Input = Literal["ffn", "residual"]
Activation = Literal["ffn", "relu", "silu", "gelu"]
Initialisation = Literal["uniform", "kaiming", "praxis"]
Dropout = Annotated[float, Meta(ge=0, lt=1)]
Width = Annotated[int, Meta(ge=1)]


class Shape(Record, kw_only=True):
    """The shape of residual adapters, every key decided.

    Source: Chen et al. 2023, arXiv:2306.08131; He et al. 2022, arXiv:2110.04366; Houlsby et al.
    2019, arXiv:1902.00751.
    """

    form: Form = "parallel"
    """``parallel`` adds ``A(u)`` to a module's output; ``sequential`` adds ``A`` of that output.
    Both inside the module's residual branch."""
    sites: tuple[Site, ...] = ("ffn1", "ffn2")
    bottleneck_dim: Width = 32
    """Width of each bottleneck."""
    input: Input = "ffn"
    """Of a parallel adapter, ``ffn``: the module's own input, after the norm in front of it;
    ``residual``: the block's stream before that norm. A sequential one reads the module's output;
    at a block, ``residual`` is its stream before the final norm."""
    activation: Activation = "ffn"
    """``ffn`` takes the feed-forward modules' own."""
    scale: float | Literal["learned"] = 1.0
    """Factor on the adapter's output; ``learned`` trains one scalar a site, starting at 1."""
    dropout: Dropout = 0.0
    """Of the bottleneck's hidden units."""
    initialisation: Initialisation = "uniform"
    """``uniform``: ``W_down`` uniform within ``1/sqrt(d_model)``; ``kaiming``: within
    ``sqrt(6/d_model)`` (He et al. 2015, arXiv:1502.01852); both biases and ``W_up`` zero.
    ``praxis``: as in the public code of TPA's first author, Xavier for ``W_down`` and both biases,
    so that ``b_up`` is not zero and an untrained adapter changes the logits."""
    blocks: Blocks = "all"


class TPASettings(Record, kw_only=True):
    """The keys under ``adapter.``: the shape of ``tpa``, ``houlsby``, ``pfeiffer``, ``parallel``.

    ``None`` means: what the method says (``adapters.methods``). ``Shape`` has what each key means.
    """

    form: Form | None = None
    sites: tuple[Site, ...] | None = None
    bottleneck_dim: Width | None = None
    input: Input | None = None
    activation: Activation | None = None
    scale: float | Literal["learned"] | None = None
    dropout: Dropout | None = None
    initialisation: Initialisation | None = None
    blocks: Blocks | None = None


class LoRASettings(Record, kw_only=True):
    """The keys under ``lora.``: the shape of ``lora`` and ``dora``.

    Source: Hu et al. 2022, arXiv:2106.09685; Liu et al. 2024, arXiv:2402.09353.
    """

    r: Width = 16
    """Rank of the update of each layer."""
    alpha: Annotated[float, Meta(gt=0)] = 32.0
    """The update is scaled by ``alpha / r``."""
    dropout: Dropout = 0.0
    """Of the update's input."""
    sites: tuple[LayerName, ...] = (
        "attention.q",
        "attention.k",
        "attention.v",
        "attention.o",
        "ffn1.in",
        "ffn1.out",
        "ffn2.in",
        "ffn2.out",
    )
    blocks: Blocks = "all"


class IA3Settings(Record, kw_only=True):
    """The keys under ``ia3.``.

    Source: Liu et al. 2022, arXiv:2205.05638, sec. 3.3: keys, values and the feed-forward modules'
    hidden units are scaled.
    """

    sites: tuple[LayerName, ...] = ("attention.k", "attention.v", "ffn1.out", "ffn2.out")
    """Of a feed-forward module's second layer the input is scaled, of the others the output."""
    blocks: Blocks = "all"


class BitFitSettings(Record, kw_only=True):
    """The keys under ``bitfit.``.

    Source: Ben Zaken et al. 2022, arXiv:2106.10199.
    """

    blocks: Blocks = "all"
    front: bool = True
    """Also the biases outside the blocks, such as those of the subsampling in front of them."""


class AdapterConfig(Record, kw_only=True):
    """How to rebuild an adapter on its base.

    ``target_modules`` are exact module paths, never patterns: a name that matches too much or
    nothing is how adapters get lost elsewhere. A key that a method does not have is ``null`` or
    absent.
    """

    schema_version: int = SCHEMA_VERSION
    peft_type: str
    """``TPA``, ``HOULSBY``, ``PFEIFFER``, ``PARALLEL``, ``HEAD``, ``BITFIT``, ``LORA``, ``IA3``."""
    task_type: str = "CTC"
    """What the base is: ``CTC``, ``RNNT`` or ``TDT``."""
    inference_mode: bool = True
    base_model_name_or_path: str
    revision: str | None = None
    base_model_digest: str
    """``BaseIdentity.digest`` of the base it was trained on."""
    target_modules: list[str]
    modules_to_save: list[str]
    """Modules of the base trained whole and stored with the adapter, the head for one."""
    bottleneck_dim: int | None = None
    adapter_input: str | None = None
    activation: str | None = None
    scale: float | Literal["learned"] | None = None
    adapter_dropout: float | None = None
    initialisation: str | None = None
    """This, ``form`` and ``sites`` are absent from files of the first version, which had
    ``uniform``, ``parallel``, ``ffn1`` and ``ffn2`` alone."""
    blocks: list[int] = []
    num_parameters: int
    form: str | UnsetType = UNSET
    sites: list[str] | UnsetType = UNSET
    r: int | UnsetType = UNSET
    lora_alpha: float | UnsetType = UNSET
    lora_dropout: float | UnsetType = UNSET
    use_dora: bool | UnsetType = UNSET
    feedforward_modules: list[str] | UnsetType = UNSET
    """Of ``target_modules``, those whose input (IA)³ scales."""
    front: bool | UnsetType = UNSET
