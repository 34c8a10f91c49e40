"""Decide which split an utterance belongs to, so that a growing folder never moves one.

The rule is a hash of the speaker (or of the utterance where no speaker is known), compared with
thresholds: it looks at nothing else, so what is added later cannot change it. What a hash cannot do
is fill every split of a small source; ``docs/decisions/stable-splits.md`` tells how that is solved.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tpactl.errors import InputError, UsageError
from tpactl.formats.dataset import SPLITS, Split
from tpactl.prepare.source import SPLIT_NAMES, Entry

SplitBy = Literal["auto", "speaker", "utterance"]
EACH = "each"
"""A lone speaker's mark in the kept assignments: each utterance is placed by itself."""


class Group(NamedTuple):
    """What is never torn apart: all utterances of a speaker, or one utterance."""

    kind: Literal["speaker", "utterance"]
    name: str


@dataclass(frozen=True)
class SplitRule:
    """What the caller asks for.

    Args:
        dev_fraction: share of the speakers (or utterances) for dev, in [0, 1).
        test_fraction: the same for test.
        split_by: ``auto``: by speaker where the source names any.
        seed: another seed is another division.
        train_from: the source's own split or folder to train on.
        dev_from: the same for dev.
        test_from: the same for test.
    """

    dev_fraction: float = 0.1
    test_fraction: float = 0.1
    split_by: SplitBy = "auto"
    seed: int = 0
    train_from: str | None = None
    dev_from: str | None = None
    test_from: str | None = None

    def __post_init__(self) -> None:
        for name in ("dev_fraction", "test_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UsageError(
                    f"{name} is {value}; it must be at least 0 and below 1",
                    f"give --{name.replace('_', '-')} a share such as 0.1",
                )
        if self.dev_fraction + self.test_fraction >= 1:
            raise UsageError(
                f"dev and test take {self.dev_fraction + self.test_fraction:g} of the data; "
                "nothing is left for train",
                "give smaller fractions",
            )

    @property
    def names_any(self) -> bool:
        """Whether the caller says which parts of the source become which split."""
        return any((self.train_from, self.dev_from, self.test_from))


@dataclass
class Assignment:
    """Which utterance goes where.

    ``left_out`` are utterances of folders that become no split; ``to_keep`` are the groups whose
    place the hash alone does not tell and that must therefore be remembered, empty where none.
    """

    split_by: str
    splits: dict[str, Split] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    to_keep: dict[Group, str] = field(default_factory=dict)


def place(seed: int, group: Group) -> float:
    """Return the group's place in [0, 1), the same on every machine for ever."""
    text = f"{seed}\0{group.kind}\0{group.name}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64


def by_hash(rule: SplitRule, group: Group) -> Split:
    """Return the split of a group by the rule alone: test, then dev, then train from 0 to 1."""
    at = place(rule.seed, group)
    if at < rule.test_fraction:
        return "test"
    return "dev" if at < rule.test_fraction + rule.dev_fraction else "train"


def assign(
    entries: list[Entry], rule: SplitRule, kept: dict[Group, str] | None = None
) -> Assignment:
    """Return the split of every utterance.

    Args:
        entries: all usable utterances of the source.
        rule: what the caller asks for.
        kept: earlier places of groups, from the data set that is updated or from the source.

    Raises:
        InputError: a split that the caller names is not in the source.
    """
    parts = _parts(entries, rule)
    if parts is None:
        made = _divide(entries, rule, kept or {}, {"dev", "test"})
    else:
        pools, drawn = parts
        made = Assignment(split_by="source")
        if drawn:
            made = _divide(pools.pop("train"), rule, kept or {}, drawn)
        for split, pool in pools.items():
            made.splits.update((entry.id, split) for entry in pool)
        made.left_out = Counter(
            entry.label or "no folder" for entry in entries if entry.id not in made.splits
        )
        for label, count in sorted(made.left_out.items()):
            made.notes.append(f"{label}: in no split, left out ({count} utterances)")
    _note_what_is_missing(made)
    _note_shared_speakers(made, entries)
    return made


def _parts(
    entries: list[Entry], rule: SplitRule
) -> tuple[dict[Split, list[Entry]], set[Split]] | None:
    """Return the source's own parts, and which splits are to be drawn from its train part.

    ``None`` where the source has no splits of its own: everything is divided.
    """
    by_label: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_label[(entry.label or "").lower()].append(entry)
    own: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for label in by_label:
        if label in SPLIT_NAMES:
            own[SPLIT_NAMES[label]].add(label)
    present = {split for split in SPLITS if own[split]}
    if not rule.names_any and not present - {"train"}:
        return None
    named: dict[Split, set[str]] = {}
    for split, name in zip(SPLITS, (rule.train_from, rule.dev_from, rule.test_from), strict=True):
        if name is not None:
            named[split] = _labels_called(name, own, set(by_label), f"--{split}-from")
    taken = set().union(*(labels for split, labels in named.items() if split != "train"))
    labels = {split: named.get(split, own[split] - taken) for split in SPLITS}
    if "train" not in named:
        labels["train"] = own["train"] or set(by_label) - labels["dev"] - labels["test"]
    both = (labels["dev"] & labels["test"]) - labels["train"]
    if both:
        raise InputError(
            f"--dev-from and --test-from both name {', '.join(sorted(both))}",
            "name another part for one of them, or divide this one: --train-from it as well",
        )
    # A part that feeds train and another split is divided between the two.
    drawn = {split for split in SPLITS[1:] if labels[split] & labels["train"]}
    if rule.names_any and not labels["dev"]:
        drawn.add("dev")
    pools: dict[Split, list[Entry]] = {
        split: [entry for label in sorted(labels[split]) for entry in by_label[label]]
        for split in SPLITS
        if labels[split] and (split == "train" or split not in drawn)
    }
    if drawn and not pools.get("train"):
        raise InputError(
            "nothing is left of the source for train", "name its part with --train-from"
        )
    return pools, drawn


def _labels_called(name: str, own: dict[Split, set[str]], known: set[str], flag: str) -> set[str]:
    if name.lower() in known:
        return {name.lower()}
    meant = SPLIT_NAMES.get(name.lower())
    if meant is not None and own[meant]:
        return own[meant]
    raise InputError(
        f"{flag} {name}: the source has no split or folder of that name; "
        f"it has {', '.join(sorted(filter(None, known))) or 'none'}",
        "name one of these, or leave the flag out",
    )


def _divide(
    entries: list[Entry], rule: SplitRule, kept: dict[Group, str], drawn: set[Split]
) -> Assignment:
    """Divide ``entries`` between train and the splits in ``drawn``."""
    group_of = _grouping(entries, rule, kept)
    groups = {group_of(entry) for entry in entries}
    known = {group: kept[group] for group in groups if kept.get(group) in {"train", *drawn}}
    placed: dict[Group, Split] = {}
    for group in groups:
        by_rule = by_hash(rule, group)
        placed[group] = known.get(group, by_rule if by_rule in drawn else "train")  # type: ignore[assignment]
    wanted: list[Split] = ["train"]
    wanted += ["dev"] if "dev" in drawn and rule.dev_fraction else []
    wanted += ["test"] if "test" in drawn and rule.test_fraction else []
    had_empty = _fill(placed, wanted, fixed=set(known), rule=rule)
    kinds = {group.kind for group in groups}
    made = Assignment(split_by="speaker" if "speaker" in kinds else "utterance")
    made.splits = {entry.id: placed[group_of(entry)] for entry in entries}
    speakers = {entry.speaker for entry in entries if entry.speaker}
    if made.split_by == "speaker" and "utterance" in kinds:
        unknown = sum(not entry.speaker for entry in entries)
        made.notes.append(
            f"utterances without a speaker: {unknown}; each is placed by itself, so one voice may "
            "occur in several splits"
        )
    lone = rule.split_by == "auto" and made.split_by == "utterance" and bool(speakers)
    if lone:
        made.notes.append(
            "one speaker only: split by utterance, so dev and test tell nothing about other voices"
        )
    if had_empty or lone:
        made.to_keep = dict(placed)
        if lone:
            made.to_keep |= {Group("speaker", name): EACH for name in speakers}
        made.to_keep = {group: split for group, split in made.to_keep.items() if group not in kept}
    return made


def _grouping(
    entries: list[Entry], rule: SplitRule, kept: dict[Group, str]
) -> Callable[[Entry], Group]:
    """Return the function from an utterance to what it is placed with."""
    speakers = {entry.speaker for entry in entries if entry.speaker}
    apart = {name for name in speakers if kept.get(Group("speaker", name)) == EACH}
    if rule.split_by == "speaker" and not speakers:
        raise InputError(
            "a split by speaker needs to know the speakers, and the source names none",
            "add a column speaker, name it with --speaker-column, or use --split-by utterance",
        )
    if rule.split_by == "auto" and len(speakers) == 1 and all(entry.speaker for entry in entries):
        apart |= speakers

    def group_of(entry: Entry) -> Group:
        if rule.split_by == "utterance" or not entry.speaker or entry.speaker in apart:
            return Group("utterance", entry.key)
        return Group("speaker", entry.speaker)

    return group_of


def _fill(
    placed: dict[Group, Split], wanted: list[Split], fixed: set[Group], rule: SplitRule
) -> bool:
    """Give an empty split the group nearest to it by hash; return whether any split was empty.

    Train comes before dev and dev before test where there are too few groups for all. A group
    whose place is fixed from earlier never moves.
    """
    had_empty = not set(wanted) <= set(placed.values())
    for rank, split in enumerate(wanted):
        if split in placed.values():
            continue
        sizes = Counter(placed.values())
        may_give = {
            other
            for other, size in sizes.items()
            if size > 1 or (other in wanted and wanted.index(other) > rank)
        }
        givers = [
            group for group, other in placed.items() if other in may_give and group not in fixed
        ]
        if not givers:
            continue
        if split != "test" and not any(placed[group] == "train" for group in givers):
            chosen = max(givers, key=lambda group: (place(rule.seed, group), group))
        else:
            from_train = [group for group in givers if placed[group] == "train"] or givers
            chosen = min(from_train, key=lambda group: (place(rule.seed, group), group))
        placed[chosen] = split
    return had_empty


def _note_what_is_missing(made: Assignment) -> None:
    present = set(made.splits.values())
    if made.splits and "train" not in present:
        made.notes.append("there is no train split: good for tpactl eval only")
    elif "dev" not in present:
        fix = (
            "add --dev-from train to draw one from train"
            if made.split_by == "source"
            else "add recordings, best of more speakers"
        )
        made.notes.append(f"there is no dev split, and training needs one: {fix}")
    if "test" not in present and made.split_by != "source":
        made.notes.append("there is no test split")


def _note_shared_speakers(made: Assignment, entries: Iterable[Entry]) -> None:
    where: defaultdict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.speaker and entry.id in made.splits:
            where[entry.speaker].add(made.splits[entry.id])
    shared = sorted(speaker for speaker, splits in where.items() if len(splits) > 1)
    if shared and len(where) > 1:
        named = ", ".join(shared[:3]) + (" ..." if len(shared) > 3 else "")
        made.notes.append(
            f"speakers in more than one split: {len(shared)} ({named}); error rates on dev and "
            "test will look better than they are"
        )
