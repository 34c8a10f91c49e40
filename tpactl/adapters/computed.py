"""Which modules of a base are computed at all: what is trained elsewhere would change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from tpactl.bases.base import MIN_SAMPLES, Base


def computed(base: Base, modules: Mapping[str, nn.Module]) -> set[str]:
    """Return the keys of those ``modules`` of ``base`` that it calls to hear something.

    Found by letting it hear a quarter of a second of silence.
    """
    called: set[str] = set()

    def calls(path: str) -> Callable[..., None]:
        return lambda *_: called.add(path)

    handles = [module.register_forward_pre_hook(calls(p)) for p, module in modules.items()]
    try:
        with torch.inference_mode():
            base.decode(*base.logits(base.features([np.zeros(MIN_SAMPLES, np.float32)])))
    finally:
        for handle in handles:
            handle.remove()
    return called
