"""What an evaluation measures beside the error rates of the test set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tpactl.formats.decoding import BeamSettings
from tpactl.formats.report import Prices


@dataclass(frozen=True)
class Plan:
    """The questions asked of every system.

    Attributes:
        normaliser: a name or a file of rules; ``None`` takes the one that fits the script.
        metric: what systems are compared by; ``auto`` takes CER for scripts without word spaces.
        incumbent: the name of the system that runs today.
        general: a prepared general set, to measure forgetting.
        general_split: which of its splits.
        slice_by: metadata columns, ``speaker``, ``duration``, ``snr``.
        glossary: a file of terms, one a line.
        stress: measure under noise, in rooms, over the telephone, at other speeds.
        single: so many utterances are also recognised one by one, to time that.
        prices: of computing.
        departments: how many the costs are projected for.
        beam: also search every system's logits, as a system of its own.
        adapter_column: the systems are the departments' adapters, and each utterance is heard by
            the one that this column of the metadata names: one system in place of them all.
    """

    normaliser: str | None = None
    metric: Literal["auto", "wer", "cer"] = "auto"
    incumbent: str | None = None
    general: Path | None = None
    general_split: str = "test"
    slice_by: tuple[str, ...] = ()
    glossary: Path | None = None
    stress: bool = False
    single: int = 0
    prices: Prices = field(default_factory=Prices)
    departments: int = 10
    beam: BeamSettings | None = None
    adapter_column: str | None = None
