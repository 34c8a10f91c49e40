"""AdamW with a learning rate for what is trained in the decoder and one for the rest."""

from __future__ import annotations

import torch

from tpactl.formats.run import TrainingSettings
from tpactl.train.trained import Trained

BETAS = (0.9, 0.98)
"""The second as usual for Conformers (Gulati et al. 2020)."""


def adamw(trained: Trained, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimiser; each group of parameters holds its highest rate as ``peak``."""
    rates = [
        (trained.body(), settings.learning_rate),
        (trained.head(), settings.head_learning_rate),
    ]
    groups = [
        {"params": parameters, "lr": rate, "peak": rate} for parameters, rate in rates if parameters
    ]
    decay = settings.weight_decay or 0.0
    return torch.optim.AdamW(groups, betas=BETAS, weight_decay=decay, fused=True)
