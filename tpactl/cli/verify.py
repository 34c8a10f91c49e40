"""``tpactl verify``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tpactl.cli import console

if TYPE_CHECKING:
    from tpactl.package.verify import Check


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE.tpa", help="The package.")],
    base: Annotated[
        str | None,
        typer.Option("--base", help="The base it must belong to: starter, DIR, HUB_ID[@REVISION]."),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest", metavar="sha256:...", help="The manifest's digest as it was published."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check that a package is what was packaged, and that it belongs to a base.

    Checks every digest, the format version and that nothing is missing or added (exit 5). With
    --base also that it is the very base the adapter was trained on (exit 4), and that the canary
    gives the stored logits: CPU, fp32, at most 1e-3 apart, same greedy path (exit 5). With --digest
    also that it is the package that was published.

    Example:
      tpactl verify picking-1.0.0.tpa --base starter
    """
    from tpactl.package.verify import verify as run

    passed: list[Check] = []
    try:
        with console.progress() as bar:
            result = run(file, base, digest=digest, on_check=passed.append, on_progress=bar)
    finally:
        # After the bar is gone, and also where a later check failed.
        for check in passed if not json else ():
            console.out.print(
                Text.assemble(("✓ ", "good"), f"{check.name:<17}", check.detail), soft_wrap=True
            )
    record = result.package.record
    if json:
        canary = result.canary
        console.print_json(
            {
                "schema_version": 1,
                "verified": True,
                "digest": result.package.digest,
                "name": record.name,
                "version": record.version,
                "format_version": record.format_version,
                "base": result.base,
                "base_digest": record.base.digest,
                "canary": None
                if canary is None
                else {
                    "passed": canary.passed,
                    "max_difference": canary.max_difference,
                    "tolerance": canary.tolerance,
                    "frames": canary.frames,
                    "same_path": canary.same_path,
                    "adapter_effect": canary.adapter_effect,
                    "hears_the_adapter": canary.hears_the_adapter,
                },
                "checks": [{"name": c.name, "detail": c.detail} for c in result.checks],
            }
        )
        return
    console.out.print(Text.assemble(("verified", "best"), f": {record.name} {record.version}"))
    console.out.print(f"digest  {result.package.digest}", soft_wrap=True)
    shown = shlex.quote(str(file))
    if result.canary is not None and not result.canary.hears_the_adapter:
        console.warn("the adapter changes nothing: with it the base writes what it writes alone")
    if base is None:
        console.warn("the base was not checked; give it with --base")
        console.next_step(f"tpactl verify {shown} --base {shlex.quote(record.base_ref)}")
    else:
        console.next_step(f"tpactl transcribe AUDIO --base {shlex.quote(base)} --package {shown}")
