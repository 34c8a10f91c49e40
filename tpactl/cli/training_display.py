"""What ``tpactl train`` shows while it runs: a bar, and under it the figures of the moment."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tpactl.cli import console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from tpactl.formats.run import Event
    from tpactl.train.events import Plan

RECENT = 30
"""Steps over which loss and speed are averaged."""


class TrainingDisplay:
    """Draws a training on stderr, on a terminal only; notes are printed in any case.

    ``on_progress`` is told about preparing and reading, ``on_event`` about the training.
    """

    def __init__(self) -> None:
        self._bar = console.ProgressBar()
        self._live: Live | None = None
        self._steps: deque[Event] = deque(maxlen=RECENT)
        self._measured: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        if self._live is not None:
            self._live.stop()

    def on_progress(self, stage: str, done: int, total: int) -> None:
        """Show how far preparing or reading is."""
        self._bar(stage, done, total)

    def on_event(self, event: Event, plan: Plan) -> None:
        """Show a training event."""
        if event.kind == "start" and plan.chosen and console.err.is_terminal:
            console.warn(f"chosen {plan.chosen}")
        if event.kind == "note" and event.message is not None:
            console.warn(event.message)
        if event.kind == "step":
            self._steps.append(event)
        elif event.dev_wer is not None:
            self._measured.append(event)
        if not console.err.is_terminal:
            return
        if self._live is None:
            from rich.live import Live

            self._bar.close()
            self._live = Live(console=console.err, transient=True, auto_refresh=False)
            self._live.start()
        self._live.update(self._draw(event, plan), refresh=True)

    def _draw(self, event: Event, plan: Plan) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        from tpactl.train.events import seconds_left

        done = event.step / plan.total_steps
        left = seconds_left(event, plan)
        if plan.max_seconds is not None:
            done = max(done, event.time_s / plan.max_seconds)
        figures = {
            "epoch": f"{event.epoch:.1f}/{plan.total_epochs:g}",
            "step": f"{event.step}/{plan.total_steps}",
            "loss": self._loss(),
            "dev WER": self._dev(),
            "speed": self._speed(),
            "left": "-" if left is None else _clock(left),
        }
        line = Text("   ").join(
            Text.assemble((f"{name} ", "quiet"), value) for name, value in figures.items() if value
        )
        shown = Table.grid()
        shown.add_row(ProgressBar(completed=100 * min(done, 1.0), width=min(console.err.width, 76)))
        shown.add_row(line)
        return shown

    def _loss(self) -> str:
        losses = [event.loss for event in self._steps if event.loss is not None]
        return f"{sum(losses) / len(losses):.3f}" if losses else ""

    def _dev(self) -> str:
        rates = [event.dev_wer for event in self._measured if event.dev_wer is not None]
        return f"{rates[-1]:.1%} (best {min(rates):.1%})" if rates else ""

    def _speed(self) -> str:
        """Return seconds of speech a second, over the recent steps."""
        if len(self._steps) < 2:
            return ""
        seconds = self._steps[-1].time_s - self._steps[0].time_s
        heard = sum(event.audio_s or 0.0 for event in list(self._steps)[1:])
        return f"{heard / seconds:.0f}x real time" if seconds > 0 else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
