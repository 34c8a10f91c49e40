"""WER against trained parameters: every trial, and the front that no other trial beats in both."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tpactl.errors import MachineError
from tpactl.formats.files import cannot_write
from tpactl.formats.search import DEFAULT, SearchRecord, Trial

Points = tuple[list[float], list[float]]
"""Trained parameters in thousands, and WER in percent."""

_TITLE = "WER on the steering speakers, %"
_AXIS = "trained parameters, thousands"


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the finished trials that no other beats in WER without being larger, small first.

    Source: the Pareto front.
    """
    kept: list[Trial] = []
    for trial in sorted(
        (t for t in trials if t.state == "finished" and t.score is not None),
        key=lambda t: (t.trained_parameters or 0, t.scores[-1].rank, t.number),
    ):
        if not kept or trial.scores[-1].wer < kept[-1].scores[-1].wer:
            kept.append(trial)
    return kept


def save_png(record: SearchRecord, file: Path) -> None:
    """Write the picture as a PNG image.

    Raises:
        MachineError: matplotlib is not installed, or the file cannot be written.
    """
    _require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    image = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(image)
    axes = image.subplots()
    groups = _groups(record)
    for label, trials in groups.items():
        marker, colour = _LOOK[label]
        axes.scatter(
            *_points(trials), marker=marker, s=36, label=label, zorder=3,
            facecolors="none" if label == "stopped early" else colour, edgecolors=colour,
        )  # fmt: skip
    best = front(record.trials)
    axes.plot(*_points(best), color="0.5", linewidth=1, zorder=2, label="Pareto front")
    for trial in best:
        (x,), (y,) = _points([trial])
        axes.annotate(str(trial.number), (x, y), textcoords="offset points", xytext=(5, 5))
    axes.set(xlabel=_AXIS, ylabel=_TITLE, xscale="log")
    axes.margins(0.08, 0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    try:
        image.savefig(file, format="png", dpi=150, metadata={"Software": "tpactl"})
    except OSError as error:
        raise cannot_write(file, error) from error


def draw(record: SearchRecord, *, width: int, height: int = 16) -> str:
    """Return the picture as lines of text.

    Raises:
        MachineError: plotext is not installed.
    """
    plotext = _require("plotext")
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, height)
    plotext.title(f"{_TITLE}, by {_AXIS}")
    for label, trials in _groups(record).items():
        plotext.scatter(*_points(trials), marker=_LETTERS[label], label=label)
    plotext.xscale("log")
    # Without colours only resets of colour are left of the escape sequences.
    return str(plotext.uncolorize(plotext.build())).rstrip()


_LOOK = {
    "stopped early": ("o", "tab:blue"),
    "trained to its end": ("o", "tab:blue"),
    "default": ("s", "tab:orange"),
    "best": ("*", "tab:green"),
}
_LETTERS = {"stopped early": ".", "trained to its end": "o", "default": "D", "best": "B"}


def _groups(record: SearchRecord) -> dict[str, list[Trial]]:
    """Return the trials that have a score, each in one group, best and default last and on top."""
    groups: dict[str, list[Trial]] = {label: [] for label in _LOOK}
    for trial in record.trials:
        if trial.score is None or trial.trained_parameters is None:
            continue
        if trial.number == DEFAULT:
            label = "default"
        elif trial.number == record.best:
            label = "best"
        else:
            label = "trained to its end" if trial.state == "finished" else "stopped early"
        groups[label].append(trial)
    return {label: trials for label, trials in groups.items() if trials}


def _points(trials: Sequence[Trial]) -> Points:
    return (
        [(trial.trained_parameters or 0) / 1000 for trial in trials],
        [100 * trial.scores[-1].wer for trial in trials],
    )


def _require(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MachineError(
            f"the picture needs the Python package {package}, which is not installed",
            "pip install 'tpactl[plot]'",
        ) from error
