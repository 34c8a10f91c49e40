"""How a search tells what it is doing; the command line draws it."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Is told what happens; the command line draws it."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Tell that ``done`` of ``total`` of a stage are done."""

    def note(self, text: str) -> None:
        """Say what goes on at the moment."""


class Silent:
    """A watcher that nobody looks at."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
