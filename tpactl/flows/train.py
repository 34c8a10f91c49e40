"""Trains on whatever folder is given; a raw department folder is prepared first, beside the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tpactl.errors import InputError, UsageError
from tpactl.formats.estimate import Estimate
from tpactl.formats.progress import Progress
from tpactl.formats.run import RunConfig, RunRecord, read_start

if TYPE_CHECKING:
    from tpactl.train.events import OnEvent
    from tpactl.train.ranks import Ranks


def train(
    config: RunConfig,
    out: Path,
    *,
    force: bool = False,
    resume: bool = False,
    ranks: Ranks | None = None,
    on_event: OnEvent | None = None,
    on_progress: Progress | None = None,
) -> RunRecord:
    """Train on ``config.data`` and write the run folder ``out``.

    A folder that is no data set is prepared into ``RUN-data`` beside ``out``. Where that is left
    from an earlier training, it is brought up to date: no utterance moves between splits, and audio
    that did not change is not read again.

    Args:
        config: the run file.
        out: the run folder.
        force: replace the run at ``out``, and throw away an unfinished one.
        resume: continue the unfinished training of ``out``; where there is none, start it.
        ranks: the processes that train together, each of which calls this; alone without it.
        on_event: told of every training event.
        on_progress: told how preparing and reading go.

    Raises:
        UsageError: no data was named.
        TpactlError: as ``prepare`` and ``train`` raise it.
    """
    from tpactl.train.folder import check_place

    check_place(out, force=force, resume=resume)
    data = named_data(config)
    if not (data / "dataset.json").is_file():
        begun = resume and read_start(out) is not None
        if (ranks is None or ranks.is_first) and not begun:
            prepare_beside(data, out, on_progress)
        # A training that goes on needs the data set it began with, however the folder has grown.
        data = beside(out)
        if ranks is not None:
            ranks.wait()
    from tpactl.train.train import train as train_on

    return train_on(
        data,
        config,
        out,
        force=force,
        resume=resume,
        ranks=ranks,
        on_event=on_event,
        on_progress=on_progress,
    )


def estimate(
    config: RunConfig, out: Path | None, *, on_progress: Progress | None = None
) -> Estimate:
    """Return what training on ``config.data`` would take; nothing is written.

    Args:
        config: the run file.
        out: where the run would go; a raw folder counts as the data set prepared beside it.
        on_progress: told how it goes.

    Raises:
        UsageError: no data was named.
        InputError: the data is not there, or not prepared.
        TpactlError: as ``train.estimate.estimate`` raises it.
    """
    data = named_data(config)
    if not (data / "dataset.json").is_file() and out is not None:
        data = beside(out)
    if not (data / "dataset.json").is_file():
        raise InputError(
            f"{config.data} is not prepared, and an estimate needs its durations",
            f"tpactl prepare {config.data} --out data, then --data data",
        )
    from tpactl.train.estimate import estimate as estimate_on

    return estimate_on(data, config, on_progress=on_progress)


def beside(out: Path) -> Path:
    """Return where the data set of a raw folder goes when the run goes to ``out``."""
    return out.with_name(out.name + "-data")


def named_data(config: RunConfig) -> Path:
    """Return the data set or raw folder that ``config`` names.

    Raises:
        UsageError: it names none.
        InputError: it is not there.
    """
    if config.data is None:
        raise UsageError(
            "no data given: neither --data nor the key data of the run file",
            "add --data with a prepared data set or an audio folder",
        )
    data = Path(config.data)
    if not data.exists():
        raise InputError(f"{data} does not exist", "check the path given to --data")
    return data


def prepare_beside(source: Path, out: Path, on_progress: Progress | None) -> None:
    """Prepare a raw folder where ``beside`` says, or bring what is there up to date.

    Raises:
        TpactlError: as ``prepare`` raises it.
    """
    from tpactl.prepare.prepare import prepare

    data = beside(out)
    prepare(source, data, update=data.exists(), on_progress=on_progress)
