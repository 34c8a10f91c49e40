"""Activation checkpointing: a block's forward pass is done again when its gradients are needed.

Only each block's input is kept meanwhile, so memory no longer grows with what happens inside the
blocks. Dropout draws the same numbers both times; the result is the same, bit for bit.

Source: Chen et al. 2016, arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from tpactl.adapters.part import computing
from tpactl.bases.base import Base


@contextmanager
def recomputed_blocks(base: Base, wanted: bool) -> Iterator[None]:
    """Let the blocks of ``base`` compute twice instead of remembering, within the block.

    transformers' own switch works in ``train()`` mode only, which a frozen base is never in.

    Args:
        base: its blocks keep their hooks.
        wanted: nothing changes where it is false.
    """
    modules = [block.module for block in base.blocks] if wanted else []
    with computing((module, _recomputed(module.forward)) for module in modules):
        yield


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        return checkpoint(forward, *arguments, use_reentrant=False, **named)

    return run
