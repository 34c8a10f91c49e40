"""Trainings read back from disk, finished or not: ``run.json`` or ``training.json``, and events.

No torch here: a list of runs appears at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from tpactl.errors import InputError
from tpactl.formats.files import read_json
from tpactl.formats.run import START, Event, Run, RunConfig, RunRecord, Start, dotted, unfinished
from tpactl.train.events import EVENTS_FILE

Curve = tuple[list[float], list[float]]
"""Steps, and a figure at each."""


@dataclass(frozen=True)
class History:
    """One training: how it was set, and how it went so far."""

    folder: Path
    record: RunRecord | None
    """``None`` while it is unfinished."""
    start: Start | None
    """``None`` once it is finished."""

    @property
    def is_finished(self) -> bool:
        """Whether the run is whole."""
        return self.record is not None

    @property
    def config(self) -> RunConfig:
        """Resolved."""
        begun = self.record or self.start
        assert begun is not None
        return begun.config

    @cached_property
    def events(self) -> list[Event]:
        """All events; a last line that a kill cut off is left out.

        Raises:
            InputError: another line is no event.
        """
        return _read_events(self.folder / EVENTS_FILE)

    @property
    def measurements(self) -> list[Event]:
        """Those of dev WER, that of the untrained base first."""
        return [event for event in self.events if event.dev_wer is not None]

    @property
    def best(self) -> Event | None:
        """The best measurement, the untrained base's included."""
        return min(self.measurements, key=lambda e: (e.dev_wer, e.dev_cer, e.step), default=None)

    def curve(self, figure: str) -> Curve:
        """Return a figure of the events, such as ``loss`` or ``dev_wer``, by step."""
        points = [(e.step, getattr(e, figure)) for e in self.events]
        points = [(step, value) for step, value in points if value is not None]
        return [float(step) for step, _ in points], [float(value) for _, value in points]

    def summary(self) -> dict[str, Any]:
        """Return what a list of runs shows; rates are fractions."""
        last = self.events[-1] if self.events else None
        measured, best = self.measurements, self.best
        counted = self.record.cost if self.record is not None else self.start
        assert counted is not None
        return {
            "run": str(self.folder),
            "state": "finished" if self.is_finished else "unfinished",
            "method": self.config.method,
            "base": self.config.base,
            "data": self.config.data,
            "base_dev_wer": measured[0].dev_wer if measured else None,
            "best_dev_wer": best.dev_wer if best else None,
            "best_step": best.step if best else None,
            "step": last.step if last else 0,
            "total_steps": self.start.total_steps if self.start else last.step if last else 0,
            "trained_parameters": counted.trained_parameters,
            "base_parameters": counted.base_parameters,
            "seconds": self.record.cost.seconds if self.record else last.time_s if last else 0.0,
            "peak_memory_bytes": self.record.cost.peak_memory_bytes if self.record else None,
            "stopped_by": self.record.stopped_by if self.record else None,
        }


def find(places: list[Path]) -> list[History]:
    """Return the trainings at or right below each of ``places``, by name.

    Raises:
        InputError: a place that holds none, or a record that cannot be read; all such are named.
    """
    found: list[History] = []
    empty: list[str] = []
    for place in places:
        below = sorted(place.iterdir()) if place.is_dir() else []
        here = [read(path) for path in (place, unfinished(place)) if _is_training(path)]
        here = here or [read(path) for path in below if _is_training(path)]
        found += here
        if not here:
            empty.append(f"{place}: no run is there or in a folder right below it")
    if empty:
        raise InputError(empty[0], "give folders that tpactl train wrote, or one above", empty[1:])
    return found


def read(folder: Path) -> History:
    """Return the training in ``folder``.

    Raises:
        InputError: its record cannot be read.
    """
    if (folder / "run.json").is_file():
        return History(folder, Run(folder).record, None)
    return History(folder, None, read_json(folder / START, Start))


def differing_settings(histories: list[History]) -> dict[str, list[Any]]:
    """Return the settings that are not the same in all, under dotted keys, one value for each."""
    flat = [dotted(history.config) for history in histories]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows = {key: [settings.get(key) for settings in flat] for key in keys}
    return {key: values for key, values in rows.items() if any(v != values[0] for v in values)}


def _is_training(path: Path) -> bool:
    return (path / "run.json").is_file() or (path / START).is_file()


def _read_events(path: Path) -> list[Event]:
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    decoder = msgspec.json.Decoder(Event)
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise InputError(
                f"{path} line {number}: not a valid Event: {error}",
                "it was written by another version or changed by hand; train again",
            ) from error
    return events
