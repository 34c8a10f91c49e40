"""Head only: the base stays whole and a CTC head of the department's own is trained."""

from __future__ import annotations

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.methods import Method, register
from tpactl.bases.base import Base
from tpactl.formats.adapter import TPASettings


def build(base: Base, settings: TPASettings, name: str, seed: int) -> Adapter:
    """Return a head that starts as the base's own; ``settings`` and ``seed`` do not matter."""
    return Adapter(
        base,
        name=name,
        method="head",
        peft_type="HEAD",
        sites=[],
        settings=None,
        block_indices=[],
    )


register(Method("head", "HEAD", "the CTC head alone", build))
