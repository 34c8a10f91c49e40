"""Searches the configuration of an adapter, by successive halving, within a budget.

Reads a data set and a base; writes the folder that ``formats.search`` describes. Everything that
has to survive a kill is in ``search.json`` and in the trials' own checkpoints. See
``docs/decisions/search.md``.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from tpactl import __version__
from tpactl.errors import UsageError
from tpactl.flows.search import halving
from tpactl.flows.search.budget import Limits
from tpactl.flows.search.conclude import conclude
from tpactl.flows.search.place import refuse_another, search_folder
from tpactl.flows.search.sampler import require_optuna
from tpactl.flows.search.space import check_defaults, read_space, shipped_space
from tpactl.flows.search.speakers import Parted, part, write_parted
from tpactl.flows.search.trials import Trials
from tpactl.flows.search.watcher import Silent, Watcher
from tpactl.flows.train import beside, named_data, prepare_beside
from tpactl.formats.dataset import DataSet
from tpactl.formats.run import RunConfig
from tpactl.formats.search import (
    SearchRecord,
    read_search,
)
from tpactl.train.reading import check_data
from tpactl.train.trials import Bench


def search(
    config: RunConfig,
    out: Path,
    limits: Limits,
    *,
    space: Path | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> SearchRecord:
    """Search around ``config`` and write the folder ``out``; where it was begun, go on.

    The default, ``config`` itself, is trial 0 and trained to its end. The other trials are compared
    at rungs, and the best of each rung go on. The best by steering is compared with the default on
    speakers that chose no step and no trial; ``best.yaml`` holds it where it is no worse there.

    Args:
        config: of the default trial; ``data`` may be a raw folder, which is prepared beside
            ``out``.
        out: the search's folder.
        limits: when it ends; a search that has ended goes on under larger ones.
        space: what may vary; the shipped one without it.
        force: begin anew.
        watcher: told how it goes.

    Returns:
        What ``search.json`` holds.

    Raises:
        UsageError: a space or a setting that cannot be, or not that of the search at ``out``.
        InputError: no data, too little of dev, or ``out`` holds something else.
        MachineError: optuna is not installed, or device, memory or disk do not suffice.
        TpactlError: as ``train`` and ``eval`` raise it.
    """
    if limits.budget_s is None and limits.trials is None:
        raise UsageError("a search needs an end", "give --budget 20m, or --trials 30")
    require_optuna()
    watcher = watcher or Silent()
    choices = read_space(space or shipped_space(), config)
    with search_folder(out, force=force):
        data = _data(config, out, watcher)
        parted = part(data)
        config = _named(config, data)
        write_parted(data, parted, out / "data")
        bench = Bench(out / "data", config, on_progress=watcher)
        defaults = bench.decided(config)
        check_defaults(choices, defaults)
        begun = SearchRecord(
            tpactl_version=__version__,
            config=config,
            space=choices,
            base_digest=bench.base_digest,
            data_digest=data.card.digest,
            evaluations=defaults["training.evaluations"],
            rungs=halving.rungs_of(defaults["training.evaluations"]),
            steering=parted.names(parted.steering),
            confirming=parted.names(parted.confirming),
            unit=parted.unit,
            notes=_notes(parted),
        )
        record = _continued(out, begun)
        record = Trials(bench, defaults, record, out, limits, watcher).run()
        # Gone before the base is loaded again to hear the confirming speakers.
        del bench
        return conclude(record, out, watcher)


def _data(config: RunConfig, out: Path, watcher: Watcher) -> DataSet:
    """Return the data set; a raw folder's is prepared beside ``out``, once."""
    data = named_data(config)
    if not (data / "dataset.json").is_file():
        if read_search(out) is None:
            prepare_beside(data, out, watcher)
        data = beside(out)
    dataset = DataSet(data)
    check_data(dataset)
    return dataset


def _named(config: RunConfig, data: DataSet) -> RunConfig:
    """Return ``config`` with data and base named so that it holds from any folder."""
    base = Path(config.base)
    return msgspec.structs.replace(
        config,
        data=str(data.folder.resolve()),
        base=str(base.resolve()) if base.is_dir() else config.base,
    )


def _notes(parted: Parted) -> list[str]:
    if parted.unit == "speaker":
        return []
    return [
        "dev names fewer than two speakers, so its halves are of utterances: what was found may "
        "suit these speakers more than others"
    ]


def _continued(out: Path, begun: SearchRecord) -> SearchRecord:
    """Return the search at ``out``, or ``begun`` where none is there."""
    earlier = read_search(out)
    if earlier is None:
        return begun
    refuse_another(earlier, begun)
    return msgspec.structs.replace(earlier, config=begun.config)
