"""Sound for the page's players: the recordings of a few utterances, compressed, within a budget."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tpactl.errors import TpactlError
from tpactl.formats.dataset import DataSet, Utterance
from tpactl.formats.report import Report

LONGEST_S = 60.0
"""A longer recording gets no player; its part with the error would be hard to find anyway."""
MOST_BYTES = 4_000_000
"""Of all players together, as they stand in the page: about 20 minutes of speech."""


@dataclass
class Recordings:
    """``data:`` addresses by utterance id, and how many recordings got none and why."""

    addresses: dict[str, str] = field(default_factory=dict)
    too_long: int = 0
    beyond_budget: int = 0
    missing: int = 0
    """Not where the report says that the data lie, or changed since."""


def recordings(report: Report, ids: Sequence[str], most_bytes: int = MOST_BYTES) -> Recordings:
    """Return the sound of the utterances ``ids`` as far as the budget goes, in this order."""
    found = Recordings()
    held = _utterances(report, set(ids))
    left = most_bytes
    for id_ in ids:
        if id_ not in held:
            found.missing += 1
            continue
        path, utterance = held[id_]
        if utterance.duration > LONGEST_S:
            found.too_long += 1
            continue
        address = _address(path, utterance)
        if address is None:
            found.missing += 1
        elif len(address) > left:
            found.beyond_budget += 1
        else:
            found.addresses[id_] = address
            left -= len(address)
    return found


def _utterances(report: Report, ids: set[str]) -> Mapping[str, tuple[Path, Utterance]]:
    try:
        data = DataSet(Path(report.data_path))
        rows = data.utterances(report.split)
    except TpactlError:
        return {}  # a report outlives its data; the page then says that there is no sound
    return {row.id: (data.audio_path(row), row) for row in rows if row.id in ids}


def _address(path: Path, utterance: Utterance) -> str | None:
    """Return the recording as a ``data:`` address; ``None`` where it is not what was evaluated."""
    from tpactl.audio.compress import compress
    from tpactl.audio.decode import decode
    from tpactl.audio.write import digest_samples

    try:
        samples = decode(path).samples
    except TpactlError:
        return None
    if digest_samples(samples) != utterance.audio_digest:
        return None
    made = compress(samples)
    return f"data:{made.media_type};base64,{base64.b64encode(made.content).decode('ascii')}"
