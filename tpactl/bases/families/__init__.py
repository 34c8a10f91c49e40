"""One file per model family; ``FAMILIES`` is the order in which they are looked for."""

from tpactl.bases.blocks import Family
from tpactl.bases.families import lasr, parakeet, wav2vec2_bert, wav2vec2_conformer

# LASR before Parakeet: it has Parakeet's names and a mark of its own.
FAMILIES: tuple[Family, ...] = (
    lasr.FAMILY,
    parakeet.FAMILY,
    wav2vec2_bert.FAMILY,
    wav2vec2_conformer.FAMILY,
)
