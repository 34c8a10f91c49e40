"""Adapters of many departments in one batch: each utterance is computed with its own.

What the base computes is the same for all of them, so one pass serves the whole batch. Only the
bottlenecks and the CTC heads differ: those of all adapters lie stacked, and each utterance's are
gathered for a batched matrix product. Utterances whose adapter has nothing at a site are left out
there, so adapters on other blocks, of other widths and other methods stand side by side, and the
base alone among them.

This holds for residual adapters and CTC heads. An adapter with any other part (LoRA, (IA)³,
BitFit, decoder modules trained whole) goes through the base by itself, with its own utterances.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpactl.adapters.adapter import Adapter, base_alone
from tpactl.adapters.attach import activate
from tpactl.adapters.decoder import OwnModule
from tpactl.adapters.part import Instead, Removable
from tpactl.adapters.residual import SiteBottleneck, put_at
from tpactl.bases.base import Base, Features
from tpactl.bases.beam import Beam
from tpactl.bases.recognise import recognise_features


@dataclass(frozen=True)
class _Chosen:
    """Which utterances of a batch a stack serves, and with which of its members."""

    places: Tensor
    """(chosen,) places in the batch."""
    members: Tensor
    """(chosen,) places in the stack."""
    everywhere: bool
    """Whether these are all utterances of the batch, in its order."""


class Together:
    """Adapters on one base that can share a batch.

    Their weights are copied as they are now: train first.

    Args:
        base: where all of them belong.
        adapters: each once; their names need not differ.
    """

    def __init__(self, base: Base, adapters: Iterable[Adapter]) -> None:
        self.base = base
        self.adapters = tuple(adapters)
        strangers = [adapter.name for adapter in self.adapters if adapter.base is not base]
        if strangers:
            raise ValueError(f"adapters of another base: {', '.join(strangers)}")
        reasons = ((adapter, why_alone(adapter)) for adapter in self.adapters)
        self.alone = {adapter: why for adapter, why in reasons if why is not None}
        """Adapters that share no batch with others, each with the reason."""
        self._stacks = _stacks(base, [a for a in self.adapters if a not in self.alone])
        self._in_place: list[Removable] = []
        self._rows: Sequence[Adapter | None] = ()

    def recognise(
        self, features: Features, rows: Sequence[Adapter | None], search: Beam | None = None
    ) -> list[str]:
        """Return the transcript of each utterance of a batch, greedy without ``search``.

        Args:
            features: (batch, ...), see ``bases.base.Features``.
            rows: (batch,) the adapter that each utterance is heard with; ``None`` is the base.
            search: decodes each utterance's logits.
        """
        self._check(features, rows)
        texts = [""] * len(rows)
        for places in self.passes(rows):
            with self.acting([rows[place] for place in places]):
                heard = recognise_features(self.base, _part(features, places), search)
            for place, text in zip(places, heard, strict=True):
                texts[place] = text
        return texts

    @torch.inference_mode()
    def logits(self, features: Features, rows: Sequence[Adapter | None]) -> tuple[Tensor, Tensor]:
        """Return (batch, frames, outputs) logits, float32, and (batch,) lengths on the CPU.

        Those of a transducer are after three fixed labels. Arguments as of ``recognise``.
        """
        self._check(features, rows)
        whole: Tensor | None = None
        for places in self.passes(rows):
            with self.acting([rows[place] for place in places]):
                frames, _ = self.base.logits(_part(features, places))
                logits = self.base.decoder.probe(frames)
            if whole is None:
                whole = logits.new_zeros((len(rows), *logits.shape[1:]), dtype=torch.float32)
            whole[places] = logits.float()
        assert whole is not None, "an empty batch"
        return whole, self.base.output_lengths(features.lengths)

    def passes(self, rows: Sequence[Adapter | None]) -> list[list[int]]:
        """Return the places of a batch that can go through the base at once; arguments as above.

        One list, but for utterances of adapters in ``alone``.
        """
        lanes: dict[Adapter | None, list[int]] = {}
        for place, adapter in enumerate(rows):
            lanes.setdefault(adapter if adapter in self.alone else None, []).append(place)
        return list(lanes.values())

    @contextmanager
    def acting(self, rows: Sequence[Adapter | None]) -> Iterator[None]:
        """Let the base compute each utterance of a batch with its own adapter, for a while.

        Args:
            rows: (batch,) of one pass; every batch that is computed meanwhile is as long.
        """
        with base_alone(self.base):
            if len(set(rows)) == 1:
                # The weights of one adapter's own batch need no gathering.
                activate(self.base, rows[0])
            else:
                self._put_on(rows)
            try:
                yield
            finally:
                if self.base.active_adapter is not None:
                    self.base.active_adapter.deactivate()

    def activate(self) -> None:
        """Put everything on again, for the batch it was last put on for."""
        self._put_on(self._rows)

    def deactivate(self) -> None:
        """Take everything off; the base computes as if no adapter had ever been."""
        for thing in reversed(self._in_place):
            thing.remove()
        self._in_place.clear()
        if self.base.active_adapter is self:
            self.base.active_adapter = None

    def _check(self, features: Features, rows: Sequence[Adapter | None]) -> None:
        if len(rows) != len(features.inputs):
            raise ValueError(f"{len(rows)} adapters for {len(features.inputs)} utterances")
        known = {None, *self.adapters}
        strangers = [adapter.name for adapter in rows if adapter and adapter not in known]
        if strangers:
            raise ValueError(f"not among the adapters here: {', '.join(strangers)}")

    def _put_on(self, rows: Sequence[Adapter | None]) -> None:
        self._rows = rows
        # Stacks of the same adapters choose the same utterances.
        chosen: dict[tuple[Adapter, ...], _Chosen | None] = {}
        for stack in self._stacks:
            if stack.owners not in chosen:
                chosen[stack.owners] = _choose(rows, stack.owners, self.base.device)
            choice = chosen[stack.owners]
            if choice is not None:
                self._in_place += stack.put_on(choice)
        self.base.active_adapter = self


def why_alone(adapter: Adapter) -> str | None:
    """Return why ``adapter`` cannot share a batch with others; ``None`` where it can."""
    for part in (*adapter.parts, *adapter.decoder):
        if type(part) is SiteBottleneck or _is_stackable_head(part, adapter.base):
            continue
        what = "decoder module trained whole" if isinstance(part, OwnModule) else "part"
        return f"{adapter.method.name}: the {what} at {part.path} is no bottleneck"
    return None


def _is_stackable_head(part: nn.Module, base: Base) -> bool:
    return (
        isinstance(part, OwnModule)
        and part.path == base.head_path
        and isinstance(part.own, nn.Linear | nn.Conv1d)
        and part.own.weight.shape == base.head.weight.shape
        and _is_one_product(part.own)
    )


@torch.inference_mode()
def _is_one_product(head: nn.Linear | nn.Conv1d) -> bool:
    """Return whether ``head`` is a product by frame; transformers' convolutions are."""
    # In full precision: a GPU computes convolutions in less than it does products.
    exact = copy.deepcopy(head).to("cpu", torch.float64)
    weight, bias = _matrix(exact)
    frames = torch.randn(1, 3, weight.shape[1], generator=torch.Generator().manual_seed(0))
    frames = frames.double()
    try:
        return torch.allclose(exact(frames), frames @ weight.T + bias)
    except RuntimeError:  # it wants another order of dimensions
        return False


def _matrix(head: nn.Module) -> tuple[Tensor, Tensor]:
    """Return (vocabulary, d_model) weights and (vocabulary,) bias."""
    assert isinstance(head, nn.Linear | nn.Conv1d)
    weight = head.weight.flatten(1)
    return weight, weight.new_zeros(len(weight)) if head.bias is None else head.bias


class _Stack:
    """Parts of several adapters at one module of the base, one of each."""

    owners: tuple[Adapter, ...]

    def put_on(self, chosen: _Chosen) -> list[Removable]:
        """Have the chosen utterances computed with their members' parts."""
        raise NotImplementedError


class _Bottlenecks(_Stack):
    """Bottlenecks at one site that read the same and have the same activation.

    The narrower ones are filled up with hidden units that add zero; scales are in ``up``.
    """

    def __init__(self, base: Base, parts: dict[Adapter, SiteBottleneck]) -> None:
        self.owners = tuple(parts)
        self._part = next(iter(parts.values()))
        bottlenecks = [part.adapter for part in parts.values()]
        width = max(b.down.out_features for b in bottlenecks)

        def stacked(tensors: Iterable[Tensor]) -> Tensor:
            filled = (F.pad(t, (0, 0, 0, width - len(t))) for t in tensors)
            return torch.stack(list(filled)).to(base.device, base.dtype)

        self._down = stacked(b.down.weight for b in bottlenecks).mT.contiguous()
        self._down_bias = stacked(b.down.bias[:, None] for b in bottlenecks).mT
        self._up = stacked(b.up.weight.T * b.scale for b in bottlenecks)
        up_bias = torch.stack([b.up.bias * b.scale for b in bottlenecks])[:, None]
        self._up_bias = up_bias.to(base.device, base.dtype)
        self._activation = bottlenecks[0].activation

    def put_on(self, chosen: _Chosen) -> list[Removable]:
        def correction(hidden: Tensor) -> Tensor:
            read = hidden if chosen.everywhere else hidden[chosen.places]
            inner = torch.baddbmm(self._down_bias[chosen.members], read, self._down[chosen.members])
            out = torch.baddbmm(
                self._up_bias[chosen.members], self._activation(inner), self._up[chosen.members]
            )
            if chosen.everywhere:
                return out
            return torch.zeros_like(hidden).index_copy_(0, chosen.places, out)

        part = self._part
        return put_at(part.site, part.shape, correction, is_block=part.is_block)


class _Heads(_Stack):
    """CTC heads of the adapters' own; the base's is heard where an adapter has none."""

    def __init__(self, base: Base, heads: dict[Adapter, OwnModule]) -> None:
        self.owners = tuple(heads)
        self._base = base
        matrices = [_matrix(head.own) for head in heads.values()]
        self._weight = torch.stack([weight.T for weight, _ in matrices])
        self._bias = torch.stack([bias[None] for _, bias in matrices])

    def put_on(self, chosen: _Chosen) -> list[Removable]:
        computed_before = self._base.head.forward
        weight, bias = self._weight[chosen.members], self._bias[chosen.members]

        def compute(hidden: Tensor) -> Tensor:
            read = (hidden if chosen.everywhere else hidden[chosen.places]).float()
            own = torch.baddbmm(bias, read, weight)
            if chosen.everywhere:
                return own
            out: Tensor = computed_before(hidden).float()
            return out.index_copy(0, chosen.places, own)

        return [Instead(self._base.head, compute)]


def _stacks(base: Base, adapters: Sequence[Adapter]) -> list[_Stack]:
    """Return what of ``adapters`` can be computed by one batched product each."""
    sites: dict[Any, dict[Adapter, SiteBottleneck]] = {}
    heads: dict[Adapter, OwnModule] = {}
    for adapter in adapters:
        for part in (*adapter.parts, *adapter.decoder):
            if isinstance(part, OwnModule):
                heads[adapter] = part
            else:
                assert isinstance(part, SiteBottleneck)
                shape = part.shape
                alike = (part.path, part.is_block, shape.activation, shape.input, shape.form)
                sites.setdefault(alike, {})[adapter] = part
    stacks: list[_Stack] = [_Bottlenecks(base, parts) for parts in sites.values()]
    return [*stacks, _Heads(base, heads)] if heads else stacks


def _choose(
    rows: Sequence[Adapter | None], owners: tuple[Adapter, ...], device: torch.device
) -> _Chosen | None:
    places = [place for place, adapter in enumerate(rows) if adapter in owners]
    if not places:
        return None
    members = [owners.index(rows[place]) for place in places]
    return _Chosen(
        torch.tensor(places, device=device),
        torch.tensor(members, device=device),
        everywhere=len(places) == len(rows),
    )


def _part(features: Features, places: list[int]) -> Features:
    if len(places) == len(features.inputs):
        return features
    return Features(features.inputs[places], features.lengths[places])
