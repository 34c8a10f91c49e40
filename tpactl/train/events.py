"""What happens while training: one event a line in ``events.jsonl``, the same to a callback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

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
    """Writes each event to a JSON-lines file at once, and tells the callback.

    Args:
        folder: gets ``events.jsonl``.
        on_event: told of every event, or ``None``.
    """

    def __init__(self, folder: Path, on_event: OnEvent | None) -> None:
        self._file = (folder / EVENTS_FILE).open("w", encoding="utf-8")
        self._on_event = on_event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def emit(self, event: Event, plan: Plan) -> None:
        """Record one event; it is on the file when this returns."""
        figures = {key: value for key, value in to_builtins(event).items() if value is not None}
        self._file.write(json.dumps(figures, ensure_ascii=False) + "\n")
        self._file.flush()
        if self._on_event is not None:
            self._on_event(event, plan)
