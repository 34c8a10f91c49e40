"""The content identity of a base model: what an adapter is bound to.

The identity is a tree of SHA-256 digests. Weights are covered tensor by tensor, so sharding the
same weights otherwise does not change it, and a comparison can say which tensors differ.
``tpactl.bases.identity`` computes it; ``docs/formats/identity.md`` describes it.
"""

from __future__ import annotations

from tpactl.formats.files import Record

SCHEMA_VERSION = 1

_TRANSDUCERS = {"ParakeetForRNNT": "rnnt", "ParakeetForTDT": "tdt"}


class BaseIdentity(Record, kw_only=True):
    """Digests (``sha256:<hex>``) of all that decides what a base computes."""

    schema_version: int = SCHEMA_VERSION
    digest: str
    """Over the four below; the one string to compare and to print."""
    weights: str
    """Over ``tensors``."""
    config: str
    tokenizer: str
    feature_extractor: str
    tensors: dict[str, str]
    """Tensor name to the digest of its name, dtype, shape and bytes."""
    model_class: str
    num_parameters: int

    @property
    def decoder(self) -> str:
        """``rnnt`` or ``tdt`` for a transducer, otherwise ``ctc``."""
        return _TRANSDUCERS.get(self.model_class, "ctc")


def differences(expected: BaseIdentity, actual: BaseIdentity, most: int = 5) -> list[str]:
    """Return one line per part that differs, naming tensors; empty where the two are equal."""
    lines: list[str] = []
    if expected.model_class != actual.model_class:
        lines.append(f"model class: expected {expected.model_class}, this is {actual.model_class}")
    for part in ("config", "tokenizer", "feature_extractor"):
        before, now = getattr(expected, part), getattr(actual, part)
        if before != now:
            lines.append(f"{part.replace('_', ' ')}: expected {before[:19]}, this is {now[:19]}")
    if expected.weights != actual.weights:
        names = sorted(expected.tensors.keys() | actual.tensors.keys())
        changed = [n for n in names if expected.tensors.get(n) != actual.tensors.get(n)]
        shown = ", ".join(changed[:most]) + (" ..." if len(changed) > most else "")
        lines.append(f"weights: {len(changed)} of {len(names)} tensors differ: {shown}")
    return lines
