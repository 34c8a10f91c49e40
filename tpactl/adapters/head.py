"""Head only: the base stays whole and a head of the department's own is trained."""

from __future__ import annotations

from tpactl.adapters.part import Part
from tpactl.bases.base import Base


def build(base: Base, settings: None, seed: int) -> list[Part]:
    """Return nothing: all that is trained is what ``decoder`` names, the head by default."""
    return []
