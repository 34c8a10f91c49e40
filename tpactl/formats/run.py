"""The run file a user writes, and the run folder that ``train`` leaves behind.

    RUN/run.json                         RunRecord: resolved settings, digests, best step, cost
    RUN/run.yaml                         the resolved run file; training with it gives this run again
    RUN/events.jsonl                     Event: every figure, as it happened
    RUN/adapter/                         adapter_config.json, adapter_model.safetensors
    RUN/model/                           instead of adapter/ for the method "full": a model directory
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tpactl.errors import InputError
from tpactl.formats.adapter import TPASettings
from tpactl.formats.files import Record, read_json

SCHEMA_VERSION = 1

Method = Literal["tpa", "head", "full"]


class TrainingSettings(Record):
    """How the trained parameters are fitted; the keys under ``training.`` of a run file.

    ``None`` means: chosen from the method and the hours of data (``train.defaults``).
    """

    learning_rate: float | None = None
    head_learning_rate: float | None = None
    weight_decay: float = 0.0
    warmup_fraction: float = 0.1
    """Of all steps; then a cosine to zero."""
    max_epochs: int | None = None
    max_steps: int | None = None
    max_minutes: float | None = None
    """Stops cleanly, keeping the best step, when the time is up."""
    batch_s: float | None = None
    """Seconds of audio a batch, padding included."""
    evaluations: int | None = None
    """How often dev WER is measured in all."""
    patience: int = 5
    """Stops after so many measurements of dev WER without a better one."""
    gradient_clip: float = 1.0
    spec_augment: bool | None = None
    speed_perturbation: bool | None = None
    dropout: bool | None = None
    """The base's own dropout while training; BatchNorm stays frozen in any case."""
    seed: int = 0


class RunConfig(Record):
    """A run file: every flag of ``tpactl train`` can stand in it."""

    method: Method = "tpa"
    base: str = "starter"
    data: str | None = None
    adapter: TPASettings = TPASettings()
    training: TrainingSettings = TrainingSettings()
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"


class Event(Record):
    """One line of ``events.jsonl``. ``kind`` is ``step``, ``dev``, ``start``, ``end`` or ``note``."""

    kind: str
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


class Cost(Record):
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


class RunRecord(Record):
    """``run.json``."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    config: RunConfig
    """Fully resolved: no ``None`` that a default would fill."""
    base_ref: str
    base_digest: str
    data_path: str
    data_digest: str
    train_speakers: list[str]
    train_text_digests: list[str]
    """Sorted; SHA-256 of each training transcript, for leak checks without the data."""
    train_audio_digests: list[str]
    best_step: int
    best_dev_wer: float
    base_dev_wer: float
    """The untrained base on the same dev utterances."""
    stopped_by: str
    """``patience``, ``epochs``, ``steps``, ``minutes``."""
    cost: Cost
    environment: dict[str, str]


class Run:
    """A finished run on disk.

    Raises:
        InputError: no run is there, or it did not finish.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "run.json").is_file():
            raise InputError(
                f"{folder} is no finished run: it has no run.json",
                "give a folder that tpactl train wrote as --out, and let the training finish",
            )
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
        from tpactl.formats.files import to_builtins

        return to_builtins(self.record)
