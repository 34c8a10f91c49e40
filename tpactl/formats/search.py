"""A search for the configuration of an adapter: what may vary, what was tried, what was found.

SEARCH/search.json                   SearchRecord: everything below but the trainings themselves
SEARCH/best.yaml                     the run file of what was found
SEARCH/trials.md, trials.png         the trials as a table, and WER against trained parameters
SEARCH/data/                         a data set: train, the steering half of dev as its dev, the
                                     confirming half as its test; its audio lies in the source
SEARCH/trials/0007/                  a run; 0007.unfinished is one that was not trained to its end
SEARCH/prefix/                       cached prefixes, while it searches

A space is a YAML file: dotted keys of a run file, each with the values it may take, a list or a
Range.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tpactl.errors import InputError
from tpactl.formats.files import Record, read_json
from tpactl.formats.report import Metric, Rate
from tpactl.formats.run import RunConfig

SCHEMA_VERSION = 1
RECORD = "search.json"
BEST = "best.yaml"
TABLE = "trials.md"
PLOT = "trials.png"

DEFAULT = 0
"""Number of the trial that changes nothing."""


class Range(Record, kw_only=True):
    """Numbers from ``low`` to ``high``, both included; whole ones where both are whole."""

    low: int | float
    high: int | float
    log: bool = False
    """Every factor is as likely as the next, rather than every difference."""
    times_default: bool = False
    """They are multiples of what the key is by default."""


Space = dict[str, list[Any] | Range]
"""Dotted key to the values it may take."""

State = Literal["under-way", "waiting", "finished", "failed"]


class TrialScore(Record, kw_only=True):
    """The lowest error rates so far on the steering speakers, as fractions."""

    wer: float
    cer: float

    @property
    def rank(self) -> tuple[float, float]:
        """The smaller the better: WER first, CER where it is equal."""
        return (self.wer, self.cer)


class Trial(Record, kw_only=True):
    """One configuration, and how far it was trained."""

    number: int
    settings: dict[str, Any]
    """Dotted key to value, of what differs from the default; empty for the default itself."""
    state: State
    """``waiting`` at a rung; ``under-way`` to the next one."""
    scores: list[TrialScore] = []
    """At each rung it has reached, of ``SearchRecord.rungs``."""
    progress: float = 0.0
    """0 to 1, of its whole training."""
    seconds: float = 0.0
    """Of training."""
    whole_s: float | None = None
    """From its first step to its end, at its pace so far."""
    trained_parameters: int | None = None
    cached_prefix: bool = False
    reason: str | None = None
    """Why it failed."""

    @property
    def score(self) -> TrialScore | None:
        """At the highest rung it has reached."""
        return self.scores[-1] if self.scores else None


class SystemRate(Record, kw_only=True):
    """A system on the confirming speakers."""

    system: Literal["base", "default", "found"]
    rate: Rate


class Confirmation(Record, kw_only=True):
    """The best trial against the default, on speakers that no step and no rung was chosen by."""

    trial: int
    """The best by steering."""
    metric: Metric
    normaliser: str
    rates: list[SystemRate]
    """``found`` is left out where the default itself is the best trial."""
    difference: float | None
    """Of ``found`` from ``default``: below 0 is better."""
    low: float | None
    """95 % interval of it, paired, by speaker; ``None`` for too few speakers."""
    high: float | None
    is_confirmed: bool
    """Whether ``found`` is no worse; where not, ``best.yaml`` holds the default."""

    def rate(self, system: str) -> float | None:
        """Return the rate of ``system``, ``None`` where it was not measured."""
        return next((r.rate.rate for r in self.rates if r.system == system), None)


class SearchRecord(Record, kw_only=True):
    """``search.json``."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    config: RunConfig
    """Of the default, as it was given; ``data`` is the data set that was searched on."""
    space: Space
    base_digest: str
    data_digest: str
    """Of the whole data set."""
    evaluations: int
    """Measurements of a whole training."""
    rungs: list[int]
    """After which of them a trial waits; the last is the end."""
    steering: list[str]
    """Speakers; ids of utterances where ``unit`` is ``utterance``."""
    confirming: list[str]
    unit: Literal["speaker", "utterance"]
    trials: list[Trial] = []
    seconds: float = 0.0
    """Spent so far, over all processes that continued it."""
    ended_by: Literal["budget", "trials", "space"] | None = None
    """``None`` while it goes on; ``space``: nothing in it is left to try."""
    confirmation: Confirmation | None = None
    best: int | None = None
    """The trial in ``best.yaml``."""
    notes: list[str] = []


def read_search(folder: Path) -> SearchRecord | None:
    """Return the search in ``folder``, finished or not; ``None`` where there is none.

    Raises:
        InputError: its record was changed by hand or written by another version.
    """
    if not (folder / RECORD).is_file():
        return None
    record = read_json(folder / RECORD, SearchRecord)
    if record.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{folder / RECORD} has schema version {record.schema_version}; this tpactl reads "
            f"{SCHEMA_VERSION}",
            "search again with --force",
        )
    return record


def trial_folder(search: Path, number: int) -> Path:
    """Return where the run of a trial goes."""
    return search / "trials" / f"{number:04}"
