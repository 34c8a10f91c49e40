"""What ``eval`` writes and the release step reads.

DIR/report.json                      Report
DIR/utterances.jsonl                 UtteranceResult, one a line
DIR/report.md                        the summary in words and tables
DIR/trn/ref.trn, hyp.SYSTEM.trn      references and hypotheses for NIST sclite
DIR/leaderboard/SYSTEM.jsonl         LeaderboardRow, one a line
DIR.unfinished/                      what --resume continues; gone when DIR is whole

Version 2 adds keys and changes none, so reports of version 1 are read as well: what they lack has
the default named here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tpactl.errors import InputError
from tpactl.formats.decoding import BeamSearch
from tpactl.formats.files import Record, read_json

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)

Metric = Literal["wer", "cer"]


class Rate(Record, kw_only=True):
    """An error rate with its counts and its 95 % interval (fractions, not percent)."""

    rate: float
    low: float | None
    """``None`` where there are too few utterances or speakers for an interval."""
    high: float | None
    substitutions: int
    deletions: int
    insertions: int
    hits: int
    reference_length: int


class CurvePoint(Record, kw_only=True):
    """A measurement on dev while the system was trained."""

    step: int
    seconds: float
    """Since the training began."""
    dev_wer: float
    dev_cer: float | None


class SystemResult(Record, kw_only=True):
    """One system on the whole set."""

    name: str
    kind: Literal["base", "run", "package", "full", "departments"]
    """``departments``: each utterance by its own adapter, see ``departments`` of the report."""
    source: str
    """Path of the run or package, the base's name, or the column that names the adapters."""
    digest: str
    """Of the base, the adapter's weights file or the package's manifest; of departments, over the
    adapters' names and digests."""
    wer: Rate
    cer: Rate
    raw_wer: Rate
    """Without any normaliser but white space."""
    real_time_factor: float
    """Seconds of computation a second of audio, batched."""
    seconds: float
    trained_parameters: int | None
    size_bytes: int | None
    """What must be stored for this system beside the base."""
    train_seconds: float | None
    peak_memory_bytes: int | None
    """Of the training."""
    decoding: Literal["greedy", "beam"] = "greedy"
    """``beam`` is the system of the name before ``+ beam``, its logits searched as ``beam`` of the
    report says."""
    raw_cer: Rate | None = None
    """As ``raw_wer``, by character."""
    real_time_factor_single: float | None = None
    """One utterance at a time, over ``timing_utterances`` of the report."""
    inference_memory_bytes: int | None = None
    """Peak while it was recognising, the model included; ``None`` where it cannot be told."""
    curve: list[CurvePoint] = []
    """Its training, where the run is at hand."""


class Normaliser(Record, kw_only=True):
    """By which rules both texts were made comparable."""

    name: str
    version: str
    """For rules of a file: the digest of their content."""


class Interval(Record, kw_only=True):
    """How the intervals were made."""

    method: str
    unit: Literal["speaker", "utterance"]
    resamples: int
    seed: int
    confidence: float = 0.95


class Mapsswe(Record, kw_only=True):
    """NIST's matched-pair sentence-segment word-error test of one system against another.

    Source: Gillick & Cox 1989; Pallett et al. 1990.
    """

    segments: int
    """Stretches in which at least one of the two erred, bounded by words both had right."""
    mean: float
    """Errors more in a segment than the other system's; below 0 is better."""
    statistic: float | None
    """Standard normal under no difference; ``None`` where no two segments differ."""
    p_value: float
    """Two-sided."""


class Comparison(Record, kw_only=True):
    """One system against another on the same utterances, in pairs."""

    system: str
    against: str
    role: Literal["base", "incumbent", "full", "greedy"]
    """What ``against`` is to the decision; ``greedy`` is the same system without beam search."""
    metric: Metric
    difference: float
    """The system's rate minus the other's: below 0 is better."""
    low: float | None
    """95 % interval of ``difference``; ``None`` where there are too few speakers."""
    high: float | None
    relative: float | None
    """``difference`` by the other's rate; ``None`` where that is 0."""
    probability_of_improvement: float | None
    """Share of resamples in which the system errs less, ties counted half."""
    p_value: float | None
    """Two-sided, of the speaker-cluster paired bootstrap."""
    mapsswe: Mapsswe


class SystemRates(Record, kw_only=True):
    """A system on part of the audio, or on changed audio."""

    system: str
    wer: Rate
    cer: Rate


class GeneralResult(Record, kw_only=True):
    """One system on the general set."""

    system: str
    wer: Rate
    cer: Rate
    raw_wer: Rate
    degradation: float
    """By the general set's ``metric``: its rate minus the base's, above 0 is forgetting; 0 for the
    base itself."""
    low: float | None
    """95 % interval of ``degradation``, paired by speaker; ``None`` for the base and for too few
    speakers."""
    high: float | None
    p_value: float | None
    """Two-sided, of the paired bootstrap."""


class General(Record, kw_only=True):
    """The same systems on a general set: what the adaptation made them forget."""

    data_path: str
    data_digest: str
    split: str
    utterances: int
    speakers: int | None
    duration_s: float
    empty_references: int
    metric: Metric
    interval: Interval
    results: list[GeneralResult]
    """In the order of the report's systems."""


class Slice(Record, kw_only=True):
    """The utterances that have one value in one column."""

    value: str
    """A metadata value, a speaker, or a range such as ``2-5 s``, ``< 10 dB``."""
    utterances: int
    speakers: int | None
    duration_s: float
    results: list[SystemRates]
    """In the order of the report's systems."""


class Slicing(Record, kw_only=True):
    """The test set parted by one column."""

    column: str
    kind: Literal["metadata", "speaker", "duration", "snr"]
    without_value: int
    """Utterances that have none; they stand in no slice."""
    slices: list[Slice]


class WorstSlice(Record, kw_only=True):
    """Where a system errs most, among slices of at least ``fewest_words`` reference words."""

    system: str
    column: str
    value: str
    utterances: int
    speakers: int | None
    duration_s: float
    fewest_words: int
    metric: Metric
    rate: Rate


class TermResult(Record, kw_only=True):
    """How one system hears one term."""

    system: str
    in_reference: int
    in_hypothesis: int
    correct: int
    """Said and heard at the same place of the alignment."""
    recall: float | None
    """Of those said; ``None`` where it was never said."""
    precision: float | None
    """Of those heard; ``None`` where it was never heard."""


class Term(Record, kw_only=True):
    """A department term, of one word or several."""

    term: str
    """As the glossary writes it."""
    normalised: str
    results: list[TermResult]


class Glossary(Record, kw_only=True):
    """A department's terms, each and together."""

    path: str
    digest: str
    terms: list[Term]
    """In the order of the file."""
    total: list[TermResult]
    """All terms together, one entry a system."""


class StressPoint(Record, kw_only=True):
    """The test audio after one disturbance."""

    kind: Literal["noise", "reverberation", "telephone", "speed"]
    level: float | None
    """dB of SNR for ``noise``, seconds of RT60 for ``reverberation``, factor for ``speed``."""
    label: str
    """For a reader: ``noise 10 dB``."""
    results: list[SystemRates]


class Stress(Record, kw_only=True):
    """Error rates against each disturbance; the undisturbed audio is the report itself."""

    seed: int
    """The same seed and utterance give the same disturbance."""
    utterances: int
    duration_s: float
    points: list[StressPoint]


class Prices(Record, kw_only=True):
    """What computing costs where the report was made; the owner's figures, not measured ones."""

    currency: str = "USD"
    price_per_hour: float | None = None
    """Of the machine."""
    watts: float | None = None
    """It draws while it computes."""
    price_per_kwh: float | None = None
    """Added to ``price_per_hour``; leave it out where that includes power."""


class Projection(Record, kw_only=True):
    """One system of this kind for each of N departments."""

    stored_bytes: int
    """The base once and N adapters, or N models."""
    train_seconds: float | None
    train_money: float | None
    train_kwh: float | None


class AgainstFull(Record, kw_only=True):
    """Shares of what the full fine-tune takes: 0.02 is a fiftieth."""

    trained_parameters: float | None
    size_bytes: float | None
    train_seconds: float | None
    train_memory_bytes: float | None
    real_time_factor: float | None
    train_money: float | None


class Cost(Record, kw_only=True):
    """What one system costs. Money and energy need ``Prices``."""

    system: str
    trained_parameters: int | None
    size_bytes: int | None
    train_seconds: float | None
    train_memory_bytes: int | None
    real_time_factor: float
    real_time_factor_single: float | None
    inference_memory_bytes: int | None
    train_money: float | None
    train_kwh: float | None
    money_per_audio_hour: float | None
    kwh_per_audio_hour: float | None
    against_full: AgainstFull | None
    """``None`` without a full fine-tune, and for itself."""
    projection: Projection | None
    """``None`` for the base."""


class Costs(Record, kw_only=True):
    """Every system's cost, and that of one for each department."""

    prices: Prices
    departments: int
    base_bytes: int
    base_parameters: int
    systems: list[Cost]


class Leak(Record, kw_only=True):
    """What a system was trained on of the audio it is tested on, by the digests its run stored."""

    system: str
    utterances: int
    """Of the test: they share speaker, text or audio with the training."""
    speakers: int
    """Speakers of the test who are also in the training."""
    same_text: int
    """Utterances whose words occur in the training."""
    same_audio: int
    """Utterances whose very samples occur in the training."""
    data: Literal["test", "general"] = "test"


class DepartmentAdapter(Record, kw_only=True):
    """One of the adapters that were heard as one system, each with its own utterances."""

    name: str
    source: str
    digest: str
    utterances: int
    """It was heard with; 0 where none names it."""
    alone: str | None
    """Why it shared no batch with the others; ``None`` where it did, or heard nothing."""


class Departments(Record, kw_only=True):
    """Who heard what in the system called ``departments``."""

    column: str
    """Of the metadata, which named the adapter of each utterance."""
    adapters: list[DepartmentAdapter]
    by_base: int
    """Utterances that name no adapter: the base heard them."""


class Report(Record, kw_only=True):
    """``report.json``."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    data_path: str
    data_digest: str
    split: str
    utterances: int
    speakers: int | None
    duration_s: float
    empty_references: int
    normaliser: Normaliser
    interval: Interval
    base_ref: str
    base_digest: str
    systems: list[SystemResult]
    leaks: list[Leak] = []
    """Of each system that shares something with the test; its figures flatter it."""
    device: str
    metric: Metric = "wer"
    """By which systems are compared and ranked: CER for languages without spaces."""
    incumbent: str | None = None
    """Name of the system that runs today."""
    full: str | None = None
    """Name of the full fine-tune that others are compared with."""
    comparisons: list[Comparison] = []
    """Of every other system against base, incumbent and full fine-tune."""
    general: General | None = None
    slicings: list[Slicing] = []
    worst_slices: list[WorstSlice] = []
    """One a system, over all slicings; none without slices."""
    glossary: Glossary | None = None
    stress: Stress | None = None
    costs: Costs | None = None
    timing_utterances: int | None = None
    """So many were also recognised one by one, for ``real_time_factor_single``."""
    beam: BeamSearch | None = None
    """How the systems called ``... + beam`` were decoded; ``None`` where there are none."""
    departments: Departments | None = None
    """``None`` where every system heard every utterance."""


class UtteranceResult(Record, kw_only=True):
    """One utterance under one system."""

    system: str
    id: str
    speaker: str | None
    duration_s: float
    reference: str
    hypothesis: str
    reference_normalised: str
    hypothesis_normalised: str
    normaliser: str
    """``name@version``."""
    substitutions: int
    deletions: int
    insertions: int
    hits: int
    audio_filepath: str = ""
    """Relative to the report's ``data_path``."""
    seconds: float | None = None
    """Its share of its batch's time, by duration."""
    character_errors: int | None = None
    character_reference_length: int | None = None
    raw_errors: int | None = None
    """Word errors without the normaliser."""
    raw_reference_length: int | None = None
    snr_db: float | None = None
    """Estimated, where the report is sliced by it."""
    metadata: dict[str, str] = {}


class LeaderboardRow(Record, kw_only=True):
    """One line in the form of the Open ASR Leaderboard's manifests."""

    audio_filepath: str
    duration: float
    time: float
    text: str
    pred_text: str


def rate_of(rates: SystemResult | SystemRates | GeneralResult, metric: Metric) -> Rate:
    """Return the rate by word or by character."""
    return rates.wer if metric == "wer" else rates.cer


def read_report(folder: Path) -> Report:
    """Return the report in ``folder``.

    Raises:
        InputError: none is there, it is damaged, or a later tpactl wrote it.
    """
    report = read_json(folder / "report.json", Report)
    if report.schema_version not in READABLE_VERSIONS:
        known = ", ".join(map(str, READABLE_VERSIONS))
        raise InputError(
            f"{folder / 'report.json'} has schema version {report.schema_version}; "
            f"this tpactl reads {known}",
            "read it with the tpactl that wrote it, or evaluate again with this version",
        )
    return report
