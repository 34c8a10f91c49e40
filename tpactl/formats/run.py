"""The run file a user writes, and the run folder that ``train`` leaves behind.

RUN/run.json                         RunRecord: resolved settings, digests, best step, cost
RUN/run.yaml                         the resolved run file; training with it gives this run again
RUN/events.jsonl                     Event: every figure, as it happened
RUN/adapter/                         adapter_config.json, adapter_model.safetensors
RUN/model/                           instead of adapter/ for the method "full": a model directory

Until it is whole it is called RUN.unfinished and holds, beside events.jsonl:

RUN.unfinished/training.json         Start: what was decided before the first step
RUN.unfinished/checkpoints/          formats.checkpoint
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from tpactl.errors import InputError
from tpactl.formats.adapter import BitFitSettings, IA3Settings, LoRASettings, TPASettings
from tpactl.formats.augment import AugmentSettings
from tpactl.formats.files import Record, read_json, sha256_of, to_builtins

SCHEMA_VERSION = 1

UNFINISHED_SUFFIX = ".unfinished"
START = "training.json"

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


class TrainingSettings(Record, kw_only=True):
    """How the trained parameters are fitted; the keys under ``training.`` of a run file.

    ``None`` means: chosen from the method, the hours of data and the size of the base
    (``train.defaults``), except for the limits, where it means no limit.
    """

    learning_rate: Positive | None = None
    """Of the adapter's parameters, or of the whole model for the method ``full``."""
    head_learning_rate: Positive | None = None
    """Of the head, or what else ``decoder`` names."""
    weight_decay: Annotated[float, Meta(ge=0)] | None = None
    """Pull of all that is trained towards zero, as AdamW has it (Loshchilov and Hutter 2019)."""
    warmup_fraction: Fraction = 0.1
    """Of all steps; then a cosine to zero."""
    max_epochs: Positive | None = None
    """Passes over the training split; a fraction is allowed."""
    max_steps: Count | None = None
    """A limit on the steps; no limit without it."""
    max_minutes: Positive | None = None
    """Stops cleanly, keeping the best step, when the time is up; the schedule is shortened to fit.
    Such a run cannot be repeated bit for bit, because its steps depend on the machine's speed."""
    batch_s: Positive | Literal["auto"] | None = None
    """Seconds of audio an update, padding included. ``auto``: on an accelerator as much as its
    memory holds, on a CPU the default."""
    accumulate: Count = 1
    """Parts in which an update's batch is computed, one after the other: the same result in less
    memory, but for what dropout draws in each."""
    activation_checkpointing: bool = False
    """Compute each block again in the backward pass instead of keeping what it computed: the same
    result, bit for bit, in less memory and more time."""
    evaluations: Count | None = None
    """How often dev WER is measured in all."""
    patience: Count | None = None
    """Stops after so many measurements of dev WER without a better one. No limit without it: the
    rate falls to the last step, and most of what a training wins late comes there."""
    gradient_clip: Positive = 1.0
    spec_augment: bool | None = None
    """Hide random bands and stretches of the features, lightly, in each training step."""
    speed_perturbation: bool | None = None
    """Train on each utterance at 0.9, 1 and 1.1 times its speed, drawn anew each epoch."""
    dropout: bool | None = None
    """The base's own dropout while training, frozen parts included; BatchNorm stays frozen in any
    case. Rewritten blocks do without it, and so does a cached prefix."""
    features_mb: Annotated[int, Meta(ge=0)] = 2048
    """Memory for features kept between epochs; beyond it they are computed again."""
    cached_prefix: bool = False
    """Compute the blocks below the lowest trained one once for each utterance, keep what leaves
    them on disk, and train on the blocks above alone."""
    cached_copies: Count | None = None
    """Augmented copies of each utterance in the cached prefix, taken in turn by the epochs."""
    cache_gb: Positive = 50.0
    """Most that a cached prefix may take on disk."""
    cache_dir: str | None = None
    """Where cached prefixes lie; ``None`` is ``prefix/`` in the data set's folder."""
    checkpoint_minutes: Positive = 10.0
    """Most minutes of work that a killed training loses; it is also saved at each measurement."""
    keep_checkpoints: Count = 2
    """The newest so many are kept until the run is whole."""
    log_to: list[Literal["tensorboard", "mlflow"]] = []
    """Where the figures go beside ``events.jsonl``."""
    price_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    """Of the machine; with it ``--dry-run`` estimates the money, 0 is unknown."""
    currency: str = "USD"
    seed: int = 0


class RunConfig(Record, kw_only=True):
    """A run file: every flag of ``tpactl train`` but ``--out`` can stand in it."""

    method: str = "tpa"
    """A name of ``adapters.methods``, or ``full``."""
    base: str = "starter"
    data: str | None = None
    """A prepared data set, or a department's raw folder, which is prepared first."""
    decoder: list[str] | Literal["head", "none"] = "head"
    """What of the decoder is trained with the adapter: the head, nothing, or modules by their
    exact paths in the base, ``head`` among them if wanted."""
    adapter: TPASettings = TPASettings()
    lora: LoRASettings = LoRASettings()
    ia3: IA3Settings = IA3Settings()
    bitfit: BitFitSettings = BitFitSettings()
    training: TrainingSettings = TrainingSettings()
    augment: AugmentSettings = AugmentSettings()
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    fast: bool | Literal["auto"] = "auto"
    """Rewritten frozen blocks, and on a CUDA device captured steps. ``auto``: as far as they apply;
    ``on``: the same, but refused where nothing applies; ``off``: never."""


class Event(Record, kw_only=True):
    """One line of ``events.jsonl``.

    ``start``: the base measured before any step. ``step``: one update. ``dev``: a measurement of
    dev WER. ``note``: a sentence for the reader. ``end``: why it stopped.
    """

    kind: Literal["start", "step", "dev", "note", "end"]
    time_s: float
    """Seconds since the training began."""
    step: int
    epoch: float
    loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    audio_s: float | None = None
    """Seconds of speech in the step, padding not counted."""
    dev_wer: float | None = None
    dev_cer: float | None = None
    best: bool | None = None
    message: str | None = None


class Cost(Record, kw_only=True):
    """What a run cost."""

    seconds: float
    """Wall clock of the training itself, dev measurements included, loading of the base not."""
    peak_memory_bytes: int
    """Device memory on an accelerator, resident memory of the process on a CPU."""
    device: str
    trained_parameters: int
    adapter_parameters: int
    head_parameters: int
    base_parameters: int
    steps: int
    epochs: float
    audio_hours_seen: float


class RunRecord(Record, kw_only=True):
    """``run.json``."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    config: RunConfig
    """Fully resolved: no ``None`` that a default would fill."""
    chosen: str = ""
    """What of it the defaults chose, and why."""
    base_ref: str
    base_digest: str
    data_path: str
    data_digest: str
    train_speakers: list[str]
    train_text_digests: list[str]
    """Sorted; ``text_digest`` of each training transcript, for leak checks without the data."""
    train_audio_digests: list[str]
    augment_digests: dict[str, str] = {}
    """Of the folders ``augment.noise`` and ``augment.rir``, under ``noise`` and ``rir``: names and
    content of their audio files."""
    best_step: int
    """0: no step was better than the untrained base, whose state was kept."""
    best_dev_wer: float
    best_dev_cer: float
    base_dev_wer: float
    """The untrained base on the same dev utterances."""
    base_dev_cer: float
    stopped_by: str
    """``patience``, ``epochs``, ``steps``, ``minutes``, or ``diverged``: the loss became NaN."""
    cost: Cost
    environment: dict[str, str]


class Start(Record, kw_only=True):
    """``training.json`` of an unfinished run: what was decided before the first step."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    config: RunConfig
    """Resolved."""
    chosen: str = ""
    base_digest: str
    data_digest: str
    augment_digests: dict[str, str] = {}
    total_steps: int
    trained_parameters: int
    base_parameters: int
    environment: dict[str, str]


def dotted(config: RunConfig) -> dict[str, Any]:
    """Return every setting under its key as ``--set`` takes it, such as ``training.seed``."""
    flat: dict[str, Any] = {}
    for key, value in to_builtins(config).items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": setting for inner, setting in value.items()})
        else:
            flat[key] = value
    return flat


def unfinished(out: Path) -> Path:
    """Return where a run, or a report, is built that will be called ``out`` when it is whole."""
    named = out if out.name not in ("", "..") else out.resolve()
    return named.with_name(named.name + UNFINISHED_SUFFIX)


def read_start(out: Path) -> Start | None:
    """Return how the unfinished training of ``out`` began, ``None`` where there is none.

    Raises:
        InputError: its record was changed by hand or written by another version.
    """
    record = unfinished(out) / START
    return read_json(record, Start) if record.is_file() else None


def text_digest(text: str) -> str:
    """Return ``sha256:<hex>`` of the words of ``text``, whatever their case and punctuation.

    >>> text_digest("Dock 4, please!") == text_digest("dock 4 please")
    True
    """
    words = re.findall(r"[\w']+", text.casefold())
    return sha256_of(" ".join(words).encode())


class Run:
    """A finished run on disk.

    Raises:
        InputError: no run is there, or it did not finish.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "run.json").is_file():
            raise _unfinished_or_none(folder)
        self.folder = folder
        self.record: RunRecord = read_json(folder / "run.json", RunRecord)
        if self.record.schema_version != SCHEMA_VERSION:
            raise InputError(
                f"{folder}/run.json has schema version {self.record.schema_version}; "
                f"this tpactl reads {SCHEMA_VERSION}",
                "train again with this version",
            )

    @property
    def adapter_folder(self) -> Path:
        """The saved adapter; absent for the method ``full``."""
        return self.folder / "adapter"

    @property
    def model_folder(self) -> Path:
        """The saved model of the method ``full``; absent otherwise."""
        return self.folder / "model"

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return to_builtins(self.record)


def _unfinished_or_none(folder: Path) -> InputError:
    out = folder.with_name(folder.name.removesuffix(UNFINISHED_SUFFIX))
    if (unfinished(out) / START).is_file():
        return InputError(
            f"{out} is no finished run: its training is unfinished",
            f"continue it: tpactl train --out {out} --resume",
        )
    if not folder.exists():
        return InputError(f"{folder} does not exist", "check the path of the run")
    return InputError(
        f"{folder} is no finished run: it has no run.json",
        "give a folder that tpactl train wrote as --out, and let the training finish",
    )
