"""The policy a release board writes, and ``gate.json``, the decision that follows from it.

policy.yaml                          Policy; ``tpactl init`` writes one with every rule explained
DIR/gate.json                        GateRecord, beside the report.json it judges
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from tpactl.errors import InputError
from tpactl.formats.files import Record, read_json, sha256_of_file

SCHEMA_VERSION = 1
GATE_FILE = "gate.json"
JUDGED_FILES = ("report.json", "utterances.jsonl")
"""Of the report's folder; a decision holds for exactly their content."""

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Improvement(Record, kw_only=True):
    """How much fewer errors than another system, and how surely."""

    relative: Share
    """Fewer errors by this share at least: 0.1 is a tenth fewer."""
    probability: Share
    """That it errs less at all, by the paired bootstrap."""


class Policy(Record, kw_only=True):
    """What an adapter must meet to be released. A rule that is null is not asked.

    Error rates are by the report's metric: WER, or CER for languages without spaces.
    """

    min_test_hours: Positive | None = None
    min_test_speakers: Annotated[int, Meta(ge=1)] | None = None
    max_error_rate: Positive | None = None
    improvement_over_base: Improvement | None = None
    improvement_over_incumbent: Improvement | None = None
    max_slice_error_rate: Positive | None = None
    """On the worst slice that is large enough to count."""
    max_forgetting: NotNegative | None = None
    """Errors more than the base on general speech, as a difference of rates: 0.01 is one point."""
    max_gap_to_full: NotNegative | None = None
    """Errors more than the full fine-tune, as a difference of rates."""
    max_package_mb: Positive | None = None
    """Megabytes (10^6 bytes) to store beside the base."""
    max_real_time_factor: Positive | None = None
    """Seconds of computation a second of speech, batched."""
    max_leaked_utterances: Annotated[int, Meta(ge=0)] | None = None
    """Of the test, that share a speaker, words or audio with the adapter's training."""


class RuleResult(Record, kw_only=True):
    """One rule, what was measured and whether that is enough."""

    rule: str
    """The policy's key; ``improvement_over_base.relative`` for a part of one."""
    passed: bool
    measured: float | None
    """``None`` where the report lacks the figure, which fails the rule."""
    limit: float
    bound: Literal["min", "max"]
    """Whether ``limit`` is the least or the most that passes."""
    unit: Literal["hours", "speakers", "share", "points", "megabytes", "factor", "utterances"]
    detail: str = ""
    """What was measured where, or which flag of eval measures it."""


class JudgedSystem(Record, kw_only=True):
    """The system that the decision is about."""

    name: str
    kind: str
    digest: str
    """As in the report: of the adapter's weights file or the package's manifest."""


class PolicyUsed(Record, kw_only=True):
    """The policy as it was read."""

    file: str
    """Its name, without folders."""
    digest: str
    """``sha256:<hex>`` of the file's bytes."""
    content: Policy


class GateRecord(Record, kw_only=True):
    """``gate.json``."""

    schema_version: int = SCHEMA_VERSION
    tpactl_version: str
    passed: bool
    system: JudgedSystem
    rules: list[RuleResult]
    policy: PolicyUsed
    inputs: dict[str, str]
    """``sha256:<hex>`` of each judged file of the report's folder."""
    data_digest: str
    """Of the test data, as the report names it."""
    base_digest: str

    @property
    def failed(self) -> list[RuleResult]:
        """The rules that are not met."""
        return [result for result in self.rules if not result.passed]


def input_digests(folder: Path) -> dict[str, str]:
    """Return the digest of every judged file in a report's folder.

    Raises:
        InputError: one is missing.
    """
    digests = {}
    for name in JUDGED_FILES:
        try:
            digests[name] = sha256_of_file(folder / name)
        except OSError as error:
            raise InputError(
                f"{folder / name}: cannot be read: {error.strerror or error}",
                "give the folder that tpactl eval wrote as --out",
            ) from error
    return digests


def read_gate(folder: Path) -> GateRecord | None:
    """Return the decision in a report's folder; ``None`` where none was made.

    Raises:
        InputError: it is damaged, of another version, or about another report than the one there.
    """
    path = folder / GATE_FILE
    if not path.exists():
        return None
    record = read_json(path, GateRecord)
    again = f"judge it again: tpactl gate --report {folder} --policy policy.yaml"
    if record.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {record.schema_version}; this tpactl reads "
            f"{SCHEMA_VERSION}",
            again,
        )
    found = input_digests(folder)
    changed = [
        f"{name}: judged was {record.inputs.get(name, 'nothing')[:19]}, found {digest[:19]}"
        for name, digest in found.items()
        if record.inputs.get(name) != digest
    ]
    if changed:
        raise InputError(f"{path} does not belong to the report beside it", again, changed)
    return record
