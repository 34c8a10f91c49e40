"""How each epoch hears each utterance: how fast, and in which surroundings."""

from __future__ import annotations

from dataclasses import dataclass

from tpactl.formats.run import RunConfig
from tpactl.train.augment import draw_speeds
from tpactl.train.surroundings import Disturbance, Surroundings


@dataclass(frozen=True)
class Hearing:
    """What a configuration does to the sound of utterances, before their features are computed.

    Attributes:
        config: fully resolved.
        surroundings: that it names.
    """

    config: RunConfig
    surroundings: Surroundings

    def speeds(self, count: int, epoch: int) -> list[float]:
        """Return how fast each of ``count`` utterances is played."""
        if not self.config.training.speed_perturbation:
            return [1.0] * count
        return draw_speeds(count, seed=self.config.training.seed, epoch=epoch)

    def disturbance(self, index: int, epoch: int) -> Disturbance | None:
        """Return what the utterance at ``index`` meets, ``None`` for nothing."""
        seed = self.config.training.seed
        return self.surroundings.draw(self.config.augment, seed=seed, epoch=epoch, index=index)
