"""What happens while training: one event a line in ``events.jsonl``, the same to a callback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tpactl.errors import IntegrityError
from tpactl.formats.files import to_builtins
from tpactl.formats.run import Event, RunConfig

EVENTS_FILE = "events.jsonl"


@dataclass(frozen=True)
class Plan:
    """What is known before the first step; a display needs it beside each event."""

    config: RunConfig
    """Resolved."""
    total_steps: int
    total_epochs: float
    train_utterances: int
    train_s: float
    """Seconds of speech in the train split."""
    dev_utterances: int
    trained_parameters: int
    base_parameters: int
    device: str
    max_seconds: float | None
    chosen: str = ""
    """What of the configuration the defaults chose, and why."""


OnEvent = Callable[[Event, Plan], None]


def seconds_left(event: Event, plan: Plan) -> float | None:
    """Return the seconds until the last step at the pace so far; ``None`` before any step."""
    if event.step == 0:
        return None
    left = event.time_s / event.step * (plan.total_steps - event.step)
    if plan.max_seconds is not None:
        left = min(left, plan.max_seconds - event.time_s)
    return max(left, 0.0)


class EventLog:
    """Writes each event to a JSON-lines file at once, and tells whoever listens.

    Args:
        folder: gets ``events.jsonl``.
        plan: of the training.
        listeners: told of every event.
        keep_bytes: of an earlier file, which is continued from there.

    Raises:
        IntegrityError: the earlier file is shorter than that.
    """

    def __init__(
        self, folder: Path, plan: Plan, listeners: Sequence[OnEvent], keep_bytes: int = 0
    ) -> None:
        path = folder / EVENTS_FILE
        there = path.stat().st_size if path.exists() else 0
        if there < keep_bytes:
            raise IntegrityError(
                f"{path} holds {there} bytes; {keep_bytes} were written before the checkpoint",
                "restore the file, or start anew with --force",
            )
        self._file = path.open("ab")
        self._file.truncate(keep_bytes)
        self._plan = plan
        self._listeners = listeners

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def emit(self, event: Event) -> None:
        """Record one event; it is on the file when this returns."""
        figures = {key: value for key, value in to_builtins(event).items() if value is not None}
        self._file.write(json.dumps(figures, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        for listener in self._listeners:
            listener(event, self._plan)

    def saved_bytes(self) -> int:
        """Return the length of the file, all of which is on disk when this returns."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size
