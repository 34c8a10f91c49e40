"""What was heard so far, on disk batch by batch, so that an evaluation that was stopped goes on.

OUT.unfinished/evaluation.json       Evaluation: what is evaluated; only the same one continues
OUT.unfinished/heard.jsonl           HeardBatch, one a line
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tpactl.errors import InputError, MachineError
from tpactl.formats.evaluation import Evaluation, HeardBatch
from tpactl.formats.files import cannot_write, read_json, to_builtins, write_json
from tpactl.formats.run import unfinished


class Journal:
    """Batches as they were heard.

    Args:
        out: the report's place; ``None`` keeps nothing.
        evaluation: what is evaluated.
        resume: go on where an evaluation into ``out`` stopped, if there is one. Without it what an
            earlier one left is thrown away.

    Raises:
        InputError: another evaluation was stopped there (the message says what differs), or
            something else lies there.
    """

    def __init__(self, out: Path | None, evaluation: Evaluation, *, resume: bool) -> None:
        self._earlier: list[HeardBatch] = []
        self._file: Path | None = None
        if out is None:
            return
        self._folder = unfinished(out)
        self._file = self._folder / "heard.jsonl"
        if resume and (self._folder / "evaluation.json").is_file():
            _check_same(self._folder, evaluation)
            self._earlier = list(_whole_lines(self._file))
        else:
            _clear(self._folder)
            try:
                write_json(self._folder / "evaluation.json", evaluation)
            except MachineError:
                # Nothing was heard yet: an empty folder would only be in the way.
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
        self._rewrite()

    def earlier(self, condition: str, systems: list[str]) -> Iterator[HeardBatch]:
        """Yield what exactly these systems heard under ``condition`` before the stop."""
        for batch in self._earlier:
            if batch.condition == condition and [turn.system for turn in batch.turns] == systems:
                yield batch

    def add(self, batch: HeardBatch) -> None:
        """Put one batch on disk."""
        if self._file is None:
            return
        try:
            with self._file.open("ab") as file:
                file.write(msgspec.json.encode(batch) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._file, error) from error

    def close(self) -> None:
        """Throw the journal away: the report is on disk."""
        if self._file is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _rewrite(self) -> None:
        # A line that was cut off would swallow the next one.
        assert self._file is not None
        lines = [msgspec.json.encode(batch) + b"\n" for batch in self._earlier]
        try:
            self._file.write_bytes(b"".join(lines))
        except OSError as error:
            raise cannot_write(self._file, error) from error


def num_kept(out: Path) -> int:
    """Return how many batches an evaluation into ``out`` that was stopped left to go on from."""
    return sum(1 for _ in _whole_lines(unfinished(out) / "heard.jsonl"))


def _clear(folder: Path) -> None:
    """Throw away what an earlier evaluation left; an unfinished training's folder ends alike."""
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and not (folder / "evaluation.json").is_file():
        raise InputError(
            f"{folder} is in the way, and no evaluation left it", "choose another --out"
        )
    shutil.rmtree(folder, ignore_errors=True)


def _check_same(folder: Path, evaluation: Evaluation) -> None:
    before = to_builtins(read_json(folder / "evaluation.json", Evaluation))
    now = to_builtins(evaluation)
    differing = [key for key in now if before[key] != now[key]]
    if differing:
        raise InputError(
            f"{folder} holds another evaluation: {', '.join(differing)} differ",
            "give the arguments it was begun with, or begin anew without --resume",
            [f"{key}: was {before[key]}, is {now[key]}" for key in differing],
        )


def _whole_lines(path: Path) -> Iterator[HeardBatch]:
    if not path.is_file():
        return
    decoder = msgspec.json.Decoder(HeardBatch)
    with path.open("rb") as file:
        for line in file:
            try:
                yield decoder.decode(line)
            except msgspec.DecodeError:
                # The last line, cut off when the process was killed.
                return
