"""Loss and dev WER over the steps, drawn as text or as PNG."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path
from types import ModuleType

from tpactl.errors import MachineError
from tpactl.formats.files import cannot_write
from tpactl.train.history import Curve, History

SMOOTH = 25
"""Losses averaged for a point of a curve, at most; a fifth of the steps where they are few."""

_MARKS = "ox+*#%&@"
"""One for each training, told apart without colours."""

_PANELS = (("dev_wer", "dev WER, %"), ("loss", "loss a label"))


def draw(histories: list[History], *, width: int, height: int = 12) -> str:
    """Return both curves of every training as lines of text.

    Raises:
        MachineError: plotext is not installed.
    """
    plotext = _require("plotext")
    panels = []
    for figure, title in _PANELS:
        plotext.clear_figure()
        plotext.theme("clear")
        plotext.plotsize(width, height)
        plotext.title(title)
        highest = 0.0
        for history, mark in zip(histories, itertools.cycle(_MARKS)):
            steps, values = _points(history, figure)
            if not steps:
                continue
            highest = max(highest, *values)
            if len(histories) == 1:
                plotext.plot(steps, values, marker="braille")
            else:
                plotext.plot(steps, values, marker=mark, label=history.folder.name)
        plotext.ylim(0, highest or 1)
        # Without colours only resets of colour are left of the escape sequences.
        panels.append(plotext.uncolorize(plotext.build()).rstrip())
    return "\n".join(panels)


def save_png(histories: list[History], file: Path) -> None:
    """Write both curves of every training as a PNG image.

    Raises:
        MachineError: matplotlib is not installed, or the file cannot be written.
    """
    _require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    image = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(image)
    for axes, (figure, title) in zip(image.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for history in histories:
            steps, values = _points(history, figure)
            marker = "o" if figure == "dev_wer" else None
            axes.plot(steps, values, marker=marker, markersize=3, label=history.folder.name)
        axes.set(title=title, xlabel="step")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        image.savefig(file, format="png", dpi=150, metadata={"Software": "tpactl"})
    except OSError as error:
        raise cannot_write(file, error) from error


def _points(history: History, figure: str) -> Curve:
    steps, values = history.curve(figure)
    if figure == "dev_wer":
        return steps, [100 * value for value in values]
    return steps, _smoothed(values, min(SMOOTH, max(1, len(values) // 5)))


def _smoothed(values: list[float], over: int) -> list[float]:
    """Return each value's mean with up to ``over`` - 1 before it."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return [
        (sums[end] - sums[max(0, end - over)]) / (end - max(0, end - over))
        for end in range(1, len(sums))
    ]


def _require(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MachineError(
            f"curves need the Python package {package}, which is not installed",
            'pip install "tpactl[plot]"',
        ) from error
