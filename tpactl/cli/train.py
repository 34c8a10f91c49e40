"""``tpactl train``: a data set and a base to a run folder with an adapter."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tpactl.adapters.methods import METHODS
from tpactl.cli import console, processes
from tpactl.errors import UsageError

if TYPE_CHECKING:
    from tpactl.formats.run import RunConfig, RunRecord


def train(
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Where the run folder goes; --dry-run needs none."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA|FOLDER",
            help="A prepared data set, or an audio folder, which is prepared into RUN-data first.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="BASE", help="starter (the default), a model directory, or HUB_ID[@REVISION]."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="What is trained, with the head (CTC's, or a transducer's output layer). "
            + "".join(f"{method.name}: {method.summary}. " for method in METHODS.values())
            + "full: every weight of the base. The default is tpa.",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="RUN.YAML", help="A run file; flags win over it.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any key of a run file, such as training.patience=8."
        ),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Most passes over the training split.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(metavar="N", help="Most updates.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(metavar="N", help="Stop in good order after so many minutes.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed is another training.")] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (the default), cpu, cuda, cuda:N or mps.")
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"] | None, typer.Option(help="Of the computation.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace the run at RUN when the new one is whole; throw away an unfinished one.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the last checkpoint of RUN; where there is none, start.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Estimate parameters, memory, time and money; train nothing."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train an adapter on a frozen base, keeping the step with the lowest dev word error rate.

    What no flag and no run file sets is chosen from the hours of data. RUN/run.yaml holds every
    setting that was used; training with it gives the same run again. Ctrl-C leaves nothing at RUN;
    what was saved until then stands in RUN.unfinished, and --resume goes on from there.

    Example:
      tpactl train --data data --base starter --out run
    """
    from tpactl.formats.run import read_start
    from tpactl.train.ranks import join
    from tpactl.train.settings import read

    flags: dict[str, Any] = {
        "data": None if data is None else str(data),
        "base": base,
        "method": method,
        "device": device,
        "precision": precision,
        "training.max_epochs": epochs,
        "training.max_steps": max_steps,
        "training.max_minutes": max_minutes,
        "training.seed": seed,
    }
    with processes.first_speaks():
        if out is None and not dry_run:
            raise UsageError("missing option --out", "add --out with a name for the run folder")
        if force and resume:
            raise UsageError(
                "--force throws an unfinished training away, --resume goes on with it",
                "give one of the two",
            )
        begun = read_start(out) if resume and out is not None else None
        over = None if begun is None else begun.config
        configuration = read(config, flags, settings or [], over=over)
        ranks = join(configuration.device)
    if out is None or dry_run:
        _estimate(configuration, out, as_json=json)
        return
    from tpactl.cli.training_display import TrainingDisplay
    from tpactl.flows.train import train as run_training

    with processes.one_speaks(ranks), TrainingDisplay() as display:
        record = run_training(
            configuration,
            out,
            force=force,
            resume=resume,
            ranks=ranks,
            on_event=display.on_event,
            on_progress=display.on_progress if ranks.is_first else None,
        )
        ranks.leave()
    if not ranks.is_first:
        return
    if json:
        console.print_json(summary(record, out))
        return
    _show(record, out)


def _estimate(config: RunConfig, out: Path | None, *, as_json: bool) -> None:
    from tpactl.flows.train import estimate

    with console.progress() as progress:
        found = estimate(config, out, on_progress=progress)
    if as_json:
        console.print_json(found)
        return
    methods = [found.wanted] if found.full == found.wanted else [found.wanted, found.full]
    table = console.table(
        "", *[m.method for m in methods], right=[m.method for m in methods]
    )  # fmt: skip
    rows = {
        "trained parameters": [f"{m.trained_parameters:,}" for m in methods],
        "of the base": [f"{m.trained_parameters / found.base_parameters:.1%}" for m in methods],
        "peak memory": [
            f"{m.memory_bytes / 2**30:,.2f} GiB" if m.fits else "does not fit" for m in methods
        ],
        "at most": [_duration(m.seconds) for m in methods],
        "steps": [f"{m.steps:,}" for m in methods],
    }
    if any(m.cache_bytes for m in methods):
        rows["cached prefix"] = [
            f"{m.cache_bytes / 1e9:,.2g} GB" if m.cache_bytes else "-" for m in methods
        ]
    if found.price_per_hour:
        rows["money"] = [
            "-" if m.money is None else f"{m.money:,.2f} {found.currency}" for m in methods
        ]
    for name, values in rows.items():
        table.add_row(name, *values)
    console.out.print(table)
    console.facts(
        {
            "data": f"{found.train_hours:.2f} h to learn from, {found.wanted.epochs:g} epochs of "
            f"batches of {found.wanted.batch_s:g} s",
            **({"chosen": found.wanted.chosen} if found.wanted.chosen else {}),
            "device": f"{found.device}, {found.available_memory_bytes / 2**30:,.1f} GiB",
        }
    )
    console.next_step("tpactl train", "the same command without --dry-run")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds / 3600:,.1f} h" if seconds >= 7200 else f"{seconds:,.0f} s"


def summary(record: RunRecord, out: Path) -> dict[str, Any]:
    """Return what ``--json`` prints; rates are fractions."""
    cost = record.cost
    return {
        "schema_version": 1,
        "run": str(out.resolve()),
        "data": record.data_path,
        "base": record.base_ref,
        "method": record.config.method,
        "base_dev_wer": record.base_dev_wer,
        "best_dev_wer": record.best_dev_wer,
        "best_step": record.best_step,
        "steps": cost.steps,
        "stopped_by": record.stopped_by,
        "trained_parameters": cost.trained_parameters,
        "base_parameters": cost.base_parameters,
        "seconds": cost.seconds,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "device": cost.device,
    }


_STOPPED = {
    "patience": "dev WER got no better",
    "epochs": "all epochs done",
    "steps": "all steps done",
    "minutes": "the time was up",
    "diverged": "the loss became NaN",
}


def _show(record: RunRecord, out: Path) -> None:
    cost = record.cost
    share = cost.trained_parameters / cost.base_parameters
    console.facts(
        {
            "dev WER": f"{record.base_dev_wer:.1%} -> {record.best_dev_wer:.1%} "
            f"(best step {record.best_step} of {cost.steps}; {_STOPPED[record.stopped_by]})",
            "trained": f"{cost.trained_parameters:,} parameters, {share:.1%} of the base",
            **({"chosen": record.chosen} if record.chosen else {}),
            "cost": f"{cost.seconds:,.0f} s, {cost.audio_hours_seen * 3600 / cost.seconds:,.0f} "
            f"s of speech a second, peak memory {cost.peak_memory_bytes / 2**20:,.0f} MiB "
            f"({cost.device})",
            "run": str(out),
        }
    )
    if record.best_step == 0:
        console.warn(
            "no step was better than the untrained base on dev; the untrained state is saved. "
            "Try more data, or another training.learning_rate"
        )
    console.next_step(
        f"tpactl eval --data {quote(_shown(record.data_path))} --split test "
        f"--run {quote(str(out))} --out report"
    )


def _shown(path: str) -> str:
    """Return ``path`` as one would type it here."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
