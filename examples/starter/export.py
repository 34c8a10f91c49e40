"""Step 4 of the starter recipe: the trained weights become the released model directory.

    python export.py trained ../../tpactl/starter

Reads the directory ``pretrain.py`` wrote. The relative-position projections carry an offset common
to all positions, which the softmax cancels and which training leaves to drift; in bfloat16 it costs
precision for nothing. It is taken out here, and the logits are compared before anything is written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from architecture import write_model_directory
from torch import Tensor
from transformers import ParakeetForCTC
from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderAttention

MAX_FRAMES = 1_500  # 60 s; positions run from -MAX_FRAMES to MAX_FRAMES
LOW_FREQUENCIES = 24
"""Cosines that turn least over ``MAX_FRAMES``: together they make a constant, and little else."""
RIDGE = 1e-6
MOST_APART = 1e-2
"""Allowed between the logits before (single precision) and after (half precision)."""


@torch.no_grad()
def remove_common_offset(model: ParakeetForCTC) -> tuple[float, float]:
    """Take the offset common to all positions out of every ``relative_k_proj``.

    Returns:
        The largest offset before and after.
    """
    positions = model.encoder.encode_positions(torch.zeros(1, MAX_FRAMES, 1))[0].double()
    cosines = positions[:, 1::2][:, -LOW_FREQUENCIES:]
    columns = torch.arange(1, positions.shape[1], 2)[-LOW_FREQUENCIES:]
    gram = cosines.T @ cosines / len(cosines)
    target = cosines.mean(0)
    # The least-squares weights with which these cosines add up to 1 at every position.
    ones = torch.linalg.solve(gram + RIDGE * torch.eye(len(gram), dtype=gram.dtype), target)
    before, after = 0.0, 0.0
    for module in model.modules():
        if isinstance(module, ParakeetEncoderAttention):
            weight = module.relative_k_proj.weight.double()
            common = (positions @ weight.T).mean(0)
            weight[:, columns] -= common[:, None] * ones[None]
            module.relative_k_proj.weight.copy_(weight)
            left = (positions @ weight.T).mean(0)
            before, after = (
                max(before, float(common.abs().max())),
                max(after, float(left.abs().max())),
            )
    return before, after


@torch.no_grad()
def logits(model: ParakeetForCTC) -> Tensor:
    """Return the logits of ten seconds of noise, shaped like features."""
    features = torch.randn(2, 1_000, 80, generator=torch.Generator().manual_seed(0))
    return model.eval()(features, attention_mask=torch.ones(2, 1_000, dtype=torch.bool)).logits


def main() -> None:
    """Read, mend, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trained", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    model = ParakeetForCTC.from_pretrained(arguments.trained, dtype=torch.float32)
    expected = logits(model)
    before, after = remove_common_offset(model)
    print(f"offset common to all positions: at most {before:.1f} before, {after:.3f} after")
    size_bytes = write_model_directory(model, arguments.out)
    written = ParakeetForCTC.from_pretrained(arguments.out, dtype=torch.float32)
    apart = float((logits(written) - expected).abs().max())
    print(f"logits at most {apart:.5f} apart; {size_bytes:,} bytes in {arguments.out}")
    if apart > MOST_APART:
        raise SystemExit("the exported model computes something else")


if __name__ == "__main__":
    main()
