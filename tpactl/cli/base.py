"""``tpactl base show`` and ``tpactl base fingerprint``."""

from __future__ import annotations

from typing import Annotated

import typer

from tpactl.cli import console

HELP = """Look at a base model: what it is made of, and its content identity.

Example:
  tpactl base show starter
"""

Reference = Annotated[
    str,
    typer.Argument(metavar="BASE", help="starter, a model directory, or HUB_ID[@REVISION]."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def show(
    base: Reference,
    width: Annotated[
        int, typer.Option(min=1, help="Width of the adapter whose parameters are counted.")
    ] = 32,
    json: Json = False,
) -> None:
    """Show a base: family, blocks, head, vocabulary, and what an adapter would add.

    Example:
      tpactl base show starter --width 64
    """


def fingerprint(base: Reference, json: Json = False) -> None:
    """Print the digests that decide whether an adapter belongs to this base.

    Weights are covered tensor by tensor, so sharding the same weights otherwise changes nothing.

    Example:
      tpactl base fingerprint starter --json
    """
    console.print_json({})


SUBCOMMANDS = (show, fingerprint)
