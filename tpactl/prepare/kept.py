"""Remember the places of groups that the hash alone does not tell.

Two memories are read: the data set that is updated, and ``tpactl-splits.csv`` in the source,
written where a small source needed help (see ``docs/decisions/stable-splits.md``). The file is
plain, so a user may also place a speaker by hand.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from tpactl.errors import InputError, MachineError
from tpactl.formats.dataset import SPLITS, DataSet
from tpactl.formats.files import write_bytes
from tpactl.prepare.splits import EACH, Group
from tpactl.prepare.text import rows

FILE_NAME = "tpactl-splits.csv"
_HEADER = ("kind", "name", "split", "seed")


def from_data_set(folder: Path) -> dict[Group, str]:
    """Return the place of every speaker and utterance of an earlier data set.

    Raises:
        InputError: ``folder`` is no data set.
    """
    data = DataSet(folder)
    places: dict[Group, str] = {}
    of_speaker: defaultdict[str, set[str]] = defaultdict(set)
    for split in SPLITS:
        for utterance in data.utterances(split):
            places[Group("utterance", utterance.id)] = split
            if utterance.speaker:
                of_speaker[utterance.speaker].add(split)
    for speaker, splits in of_speaker.items():
        places[Group("speaker", speaker)] = splits.pop() if len(splits) == 1 else EACH
    return places


def from_source(root: Path, seed: int) -> dict[Group, str]:
    """Return what ``tpactl-splits.csv`` of the source says for this seed.

    Raises:
        InputError: the file was changed into something unreadable.
    """
    path = root / FILE_NAME
    if not path.is_file():
        return {}
    places: dict[Group, str] = {}
    for row in rows(path):
        kind, name, split, of_seed = (row.values.get(key) for key in _HEADER)
        if (
            row.fault
            or kind not in ("speaker", "utterance")
            or not name
            or split not in (*SPLITS, EACH)
        ):
            raise InputError(
                f"{path} line {row.line}: expected kind (speaker or utterance), name, split "
                f"({', '.join(SPLITS)}) and seed",
                "correct the line, or delete the file to divide the source anew",
            )
        if of_seed in (None, "", str(seed)):
            places[Group(kind, name)] = split
    return places


def keep_in_source(root: Path, seed: int, places: dict[Group, str]) -> bool:
    """Add ``places`` to the source's file; return whether it could be written."""
    path = root / FILE_NAME
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    if not path.is_file():
        writer.writerow(_HEADER)
    writer.writerows(
        (group.kind, group.name, split, seed) for group, split in sorted(places.items())
    )
    try:
        before = path.read_bytes() if path.is_file() else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        write_bytes(path, before + buffer.getvalue().encode())
    except (MachineError, OSError):
        return False
    return True
