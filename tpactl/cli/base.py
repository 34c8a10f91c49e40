"""``tpactl base show`` and ``tpactl base fingerprint``."""

from __future__ import annotations

from shlex import quote
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
        int | None,
        typer.Option(
            min=1,
            help="Width of the adapter whose parameters are counted. Default: that of tpa.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show a base: family, blocks, head, vocabulary, and what an adapter would add.

    Example:
      tpactl base show starter --width 64
    """
    from tpactl.flows.describe import describe

    found = describe(base, width)
    if json:
        console.print_json(found)
        return
    share = found.adapter_parameters / found.parameters
    first, last = found.adapter_sites[0], found.adapter_sites[-1]
    console.facts(
        {
            "base": found.ref,
            "path": found.path,
            "digest": found.digest,
            "class": f"{found.model_class} (family {found.family}, decoder {found.decoder})",
            "blocks": f"{found.blocks} Conformer blocks of width {found.d_model}, feed-forward "
            + ", ".join(map(str, found.feed_forward_dims)),
            "parameters": f"{found.parameters:,}",
            "head": f"{found.head}: {found.vocabulary} labels, blank {found.blank_id}, "
            f"{found.head_parameters:,} parameters",
            "adapter sites": f"{len(found.adapter_sites)}: {first} ... {last}",
            f"TPA of width {found.bottleneck_dim}": f"{found.adapter_parameters:,} parameters, "
            f"{100 * share:.1f} % of the base",
        }
    )
    console.next_step(f"tpactl train --data DATA --base {quote(base)} --out run")


def fingerprint(base: Reference, json: Json = False) -> None:
    """Print the digests that decide whether an adapter belongs to this base.

    Weights are covered tensor by tensor, so sharding the same weights otherwise changes nothing.

    Example:
      tpactl base fingerprint starter --json
    """
    from tpactl.bases.identity import fingerprint as identify
    from tpactl.bases.load import resolve

    identity = identify(resolve(base))
    if json:
        console.print_json(identity)
        return
    console.facts(
        {
            "digest": identity.digest,
            "weights": f"{identity.weights}\n{len(identity.tensors)} tensors, "
            f"{identity.num_parameters:,} parameters",
            "config": identity.config,
            "tokenizer": identity.tokenizer,
            "feature extractor": identity.feature_extractor,
            "class": identity.model_class,
        }
    )
    console.next_step(f"tpactl base show {quote(base)}")


SUBCOMMANDS = (show, fingerprint)
