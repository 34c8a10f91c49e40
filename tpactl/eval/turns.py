"""Several systems on one batch, what they have in common computed once.

The base and its adapters compute the same below the lowest block that an adapter changes. So the
base goes first and what leaves each block below such a place is kept; then every adapter goes
through the model with all modules below its lowest block standing aside: they return what was kept
and compute nothing. This holds for any family, because the model's own code runs, masks and
positions included.

Whether it also holds for the adapters at hand is proved on a second of noise before it is used; an
adapter that fails the proof goes through the whole model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.attach import activate
from tpactl.adapters.prefix import lowest_block, standing_aside
from tpactl.bases.base import SAMPLE_RATE, Base, Features
from tpactl.bases.beam import Beam
from tpactl.eval.departments import Departments
from tpactl.eval.memory import PeakMemory
from tpactl.eval.systems import beam_name

_TOLERANCE = 1e-4
"""Of logits on the way round: nothing is computed otherwise, only less."""


@dataclass(frozen=True)
class Turn:
    """What one system made of a batch.

    Attributes:
        texts: one an utterance.
        seconds: what it would have taken alone, the shared part included, features not.
        memory_bytes: peak while it ran; ``None`` where that cannot be told.
    """

    texts: list[str]
    seconds: float
    memory_bytes: int | None


@dataclass
class _Kept:
    """Of one batch: what left the modules below each cut, and when."""

    fronts: dict[nn.Module, Any] = field(default_factory=dict)
    blocks: dict[int, Any] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=lambda: {0: 0.0})
    started: float = 0.0


class Turns:
    """Systems on one base that take turns on each batch.

    Args:
        base: a loaded base, or a fine-tuned model.
        systems: adapters on it by name, or the adapters of many departments under one; ``None`` is
            the base alone, which must be the first.
        beam: searches each system's logits too, as a turn of its own.
    """

    def __init__(
        self,
        base: Base,
        systems: Mapping[str, Adapter | Departments | None],
        beam: Beam | None = None,
    ) -> None:
        self.base = base
        self.systems = dict(systems)
        self.beam = beam
        first, *others = self.systems.values()
        if first is not None:
            raise ValueError("the base itself must be the first system")
        cuts = {each.name: _lowest(each) for each in others if each is not None}
        self._cuts = {name: cut for name, cut in cuts.items() if cut is not None}
        self._fronts = _modules_before(base) if others else []
        self._cuts = self._proved() if others else {}

    @property
    def names(self) -> list[str]:
        """Whose turns ``take`` returns, in its order."""
        if self.beam is None:
            return list(self.systems)
        return [turn for name in self.systems for turn in (name, beam_name(name))]

    @torch.inference_mode()
    def take(self, features: Features, indices: Sequence[int] = ()) -> dict[str, Turn]:
        """Return each system's turn on one batch, in the order of the systems.

        Where there is a beam search, it follows each of them on the same logits.

        Args:
            features: (batch, ...), see ``bases.base.Features``.
            indices: (batch,) which utterances of the test set they are, for departments.
        """
        kept = _Kept()
        turns: dict[str, Turn] = {}
        try:
            for name, system in self.systems.items():
                if isinstance(system, Departments) and system.together.alone:
                    turns |= self._in_passes(name, system, features, indices)
                    continue
                memory = PeakMemory(self.base.device)
                started = self._now()
                with self._acting(system, indices):
                    logits, lengths = self._logits(system, features, kept)
                    logits_s = self._now() - started
                    cut = self._cut(system)
                    if cut is not None:
                        logits_s += kept.seconds[cut]
                    for turn, decoder in self._decoders(name):
                        started = self._now()
                        texts = decoder.decode(logits, lengths)
                        seconds = logits_s + self._now() - started
                        turns[turn] = Turn(texts, seconds, memory.peak_bytes())
        finally:
            activate(self.base, None)
        return turns

    def _decoders(self, system: str) -> list[tuple[str, Base | Beam]]:
        decoders: list[tuple[str, Base | Beam]] = [(system, self.base)]
        if self.beam is not None:
            decoders.append((beam_name(system), self.beam))
        return decoders

    def _cut(self, system: Adapter | Departments | None) -> int | None:
        return None if system is None else self._cuts.get(system.name)

    def _logits(
        self, system: Adapter | Departments | None, features: Features, kept: _Kept
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of a system; departments must be acting."""
        if not isinstance(system, Departments):
            activate(self.base, system)
        if system is None:
            with self._keeping(kept):
                return self.base.logits(features)
        cut = self._cut(system)
        if cut is None:
            return self.base.logits(features)
        with self._standing_aside(cut, kept):
            return self.base.logits(features)

    def _in_passes(
        self, name: str, system: Departments, features: Features, indices: Sequence[int]
    ) -> dict[str, Turn]:
        """Return the turns of departments of which some share no batch with others."""
        turns: dict[str, Turn] = {}
        for turn, decoder in self._decoders(name):
            memory = PeakMemory(self.base.device)
            started = self._now()
            search = decoder if isinstance(decoder, Beam) else None
            texts = system.together.recognise(features, system.rows(indices), search)
            turns[turn] = Turn(texts, self._now() - started, memory.peak_bytes())
        return turns

    @contextmanager
    def _acting(
        self, system: Adapter | Departments | None, indices: Sequence[int]
    ) -> Iterator[None]:
        if isinstance(system, Departments):
            with system.together.acting(system.rows(indices)):
                yield
        else:
            activate(self.base, system)
            yield

    @contextmanager
    def _keeping(self, kept: _Kept) -> Iterator[None]:
        cuts = set(self._cuts.values())
        if not cuts:
            yield
            return

        def keep_front(module: nn.Module, args: Any, out: Any) -> None:
            kept.fronts[module] = out
            kept.seconds[0] = self._now() - kept.started

        def keep_block(cut: int) -> Any:
            def keep(module: nn.Module, args: Any, out: Any) -> None:
                kept.blocks[cut] = out
                kept.seconds[cut] = self._now() - kept.started

            return keep

        with ExitStack() as hooks:
            for module in self._fronts:
                hooks.callback(module.register_forward_hook(keep_front).remove)
            for cut in cuts - {0}:
                module = self.base.blocks[cut - 1].module
                hooks.callback(module.register_forward_hook(keep_block(cut)).remove)
            kept.started = self._now()
            yield

    @contextmanager
    def _standing_aside(self, cut: int, kept: _Kept) -> Iterator[None]:
        with ExitStack() as stack:
            for module, out in kept.fronts.items():
                stack.enter_context(standing_aside(module, out))
            for block in self.base.blocks[:cut]:
                stack.enter_context(standing_aside(block.module, kept.blocks[cut]))
            yield

    @torch.inference_mode()
    def _proved(self) -> dict[str, int]:
        """Return the cuts of the systems whose logits are the same both ways."""
        examples = [s.examples for s in self.systems.values() if isinstance(s, Departments)]
        indices = [index for each in examples for index in each]
        count = max(2, len(indices))
        indices += indices[:1] * (count - len(indices))
        noise = np.random.default_rng(0).normal(0, 0.1, (count, SAMPLE_RATE)).astype(np.float32)
        features = self.base.features([noise[0], *noise[1:, : SAMPLE_RATE // 2]])
        kept = _Kept()
        proved = {}
        try:
            self._logits(None, features, kept)
            for system in self.systems.values():
                cut = self._cut(system)
                if system is None or cut is None:
                    continue
                with self._acting(system, indices):
                    whole, lengths = self.base.logits(features)
                    short, _ = self._logits(system, features, kept)
                if _equal(whole, short, lengths):
                    proved[system.name] = cut
        finally:
            activate(self.base, None)
        return proved

    def _now(self) -> float:
        if self.base.device.type == "cuda":
            torch.cuda.synchronize(self.base.device)
        return time.perf_counter()


def _lowest(system: Adapter | Departments) -> int | None:
    """Return how many blocks compute what they compute for the base; ``None``: no way round.

    Adapters that share no batch go through the base with utterances of their own, of which nothing
    was kept.
    """
    if not isinstance(system, Departments):
        return lowest_block(system)
    if system.together.alone:
        return None
    return min(
        map(lowest_block, system.together.adapters), default=len(system.together.base.blocks)
    )


def _modules_before(base: Base) -> list[nn.Module]:
    """Return the modules that finish before the first block begins, none inside another."""
    finished: list[tuple[str, nn.Module]] = []
    begun = False

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if not begun:
                finished.append((name, module))

        return hook

    def begin(module: nn.Module, args: Any) -> None:
        nonlocal begun
        begun = True

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in base.model.named_modules():
            hooks.callback(module.register_forward_hook(note(name)).remove)
        first = base.blocks[0].module
        hooks.callback(first.register_forward_pre_hook(begin).remove)
        base.logits(base.features([np.zeros(SAMPLE_RATE, dtype=np.float32)]))
    names = {name for name, _ in finished}
    return [module for name, module in finished if not _inside(name, names)]


def _inside(name: str, others: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:depth]) in others for depth in range(1, len(parts)))


def _equal(first: Tensor, second: Tensor, lengths: Tensor) -> bool:
    """Return whether two batches of logits agree on their valid frames."""
    return all(
        torch.allclose(a[:length], b[:length], atol=_TOLERANCE, rtol=_TOLERANCE)
        for a, b, length in zip(first, second, lengths.tolist(), strict=True)
    )
