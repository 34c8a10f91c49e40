"""Says what a base is made of and what an adapter would add to it."""

from __future__ import annotations

from tpactl.errors import UsageError
from tpactl.formats.files import Record

SCHEMA_VERSION = 1


class BaseDescription(Record, kw_only=True):
    """What ``tpactl base show`` prints."""

    schema_version: int = SCHEMA_VERSION
    ref: str
    path: str
    digest: str
    model_class: str
    family: str
    blocks: int
    d_model: int
    feed_forward_dims: list[int]
    """Hidden units of the feed-forward modules; one value where all are equal."""
    parameters: int
    decoder: str
    """``ctc``, ``rnnt`` or ``tdt``."""
    head: str
    """Module path of the head."""
    head_parameters: int
    vocabulary: int
    """Labels, the blank included; the head of a TDT has an output for each duration besides."""
    blank_id: int
    adapter_sites: list[str]
    """Exact module paths that a TPA stands beside."""
    bottleneck_dim: int
    adapter_parameters: int
    """Of a TPA of that width in every block; the head is trained besides."""


def describe(ref: str, bottleneck_dim: int | None = None) -> BaseDescription:
    """Load the base ``ref`` and return its description.

    Args:
        ref: starter, a model directory, or HUB_ID[@REVISION].
        bottleneck_dim: width of the adapter whose parameters are counted; ``None`` is that of
            ``tpa``, as far as the base is that wide.

    Raises:
        BaseError: no such base, or one without Conformer blocks.
        UsageError: the adapter would be wider than what it stands beside.
    """
    from tpactl.adapters.methods import METHODS
    from tpactl.adapters.settings import shape
    from tpactl.bases.load import load_base

    base = load_base(ref)
    sites = [site for block in base.blocks for site in (block.ffn1, block.ffn2)]
    widest = max(site.linear_in.out_features for site in sites)
    if bottleneck_dim is None:
        bottleneck_dim = min(shape(METHODS["tpa"], None).bottleneck_dim, widest)
    elif bottleneck_dim > widest:
        raise UsageError(
            f"width {bottleneck_dim} is wider than this base's feed-forward modules, which have "
            f"{widest} hidden units",
            f"give at most --width {widest}",
        )
    return BaseDescription(
        ref=ref,
        path=str(base.path),
        digest=base.identity.digest,
        model_class=type(base.model).__name__,
        family=base.family.name,
        blocks=len(base.blocks),
        d_model=base.d_model,
        feed_forward_dims=sorted({site.linear_in.out_features for site in sites}),
        parameters=base.num_parameters,
        decoder=base.decoder.name,
        head=base.head_path,
        head_parameters=sum(tensor.numel() for tensor in base.head.parameters()),
        vocabulary=base.vocab_size,
        blank_id=base.blank_id,
        adapter_sites=[site.path for site in sites],
        bottleneck_dim=bottleneck_dim,
        # Two matrices and two biases a site; adapters/ builds exactly these.
        adapter_parameters=sum(
            bottleneck_dim * (site.linear_in.in_features + site.linear_out.out_features)
            + bottleneck_dim
            + site.linear_out.out_features
            for site in sites
        ),
    )
