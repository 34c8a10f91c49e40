"""``tpactl package``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tpactl.cli import console


def package(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What tpactl train wrote.")],
    name: Annotated[
        str, typer.Option("--name", metavar="DEPARTMENT/TASK", help="Whose adapter, for what.")
    ],
    version: Annotated[
        str, typer.Option("--version", metavar="X.Y.Z", help="Semantic version; the OCI tag.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.tpa", help="The file to write.")],
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--eval",
            metavar="DIR",
            help="What tpactl eval --out wrote for this run; with the decision of tpactl gate.",
        ),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            "--card", metavar="FILE.md", help="Use, limits, licence, owner, for the model card."
        ),
    ] = None,
    reproduce: Annotated[
        Path | None,
        typer.Option(
            "--reproduce",
            metavar="FILE.tpa",
            help="Rebuild this package: take the canary's measured logits over from it.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", help="Where the run's base lies now, if it was moved."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing FILE.tpa.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put a run's adapter into one file that can be verified, copied and released.

    FILE.tpa is an OCI image layout in a tar: the adapter, its configuration, a model card, the
    evaluation, the identity of the base it belongs to, a canary, and a digest of every part. Equal
    inputs give equal bytes. Without --eval the package says that it is unevaluated.

    Example:
      tpactl package RUN --name warehouse/picking --version 1.0.0 --out picking.tpa --eval REPORT
    """
    from tpactl.package.build import build, check_out, check_run
    from tpactl.package.names import check_name, check_version

    # Before the base is loaded, which takes seconds.
    check_name(name)
    check_version(version)
    check_out(out, force=force)
    record = check_run(run).record
    with console.progress() as bar:
        from tpactl.bases.load import load_base

        bar("load the base", 0, 1)
        loaded = load_base(base or record.base_ref)
        result = build(
            run,
            name=name,
            version=version,
            out=out,
            base=loaded,
            evaluation=evaluation,
            card=card,
            reproduce=reproduce,
            force=force,
            on_progress=bar,
        )
    made = result.package
    if json:
        console.print_json(
            {
                "schema_version": 1,
                "path": str(out.resolve()),
                "digest": made.digest,
                "size_bytes": made.size_bytes,
                "name": name,
                "version": version,
                "evaluated": made.evaluation is not None,
                "gate_passed": None if made.decision is None else made.decision.passed,
                "base_digest": made.record.base.digest,
                "parts": [{"name": p.name, "digest": p.digest, "size": p.size} for p in made.parts],
            }
        )
        return
    from tpactl.cli.inspect import parts_table

    console.out.print(f"{name} {version} -> {out}", markup=False, soft_wrap=True)
    console.out.print(parts_table(made))
    console.out.print(f"digest  {made.digest}", soft_wrap=True)
    if made.evaluation is None:
        console.warn("this package is unevaluated; --eval DIR puts test results into it")
    if made.decision is not None and not made.decision.passed:
        failed = ", ".join(result.rule for result in made.decision.failed)
        console.warn(f"the release gate says no: {failed}")
    if record.best_step == 0:
        console.warn("no step of this run was better than the base alone; the adapter is untrained")
    where = shlex.quote(base or record.base_ref)
    console.next_step(f"tpactl verify {shlex.quote(str(out))} --base {where}")
