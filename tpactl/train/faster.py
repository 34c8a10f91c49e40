"""Chooses how steps are computed: rewritten, compiled and captured, each where it applies."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from tpactl.adapters import fast
from tpactl.bases.base import Base
from tpactl.bases.fast import kernels
from tpactl.errors import UsageError
from tpactl.formats.run import RunConfig
from tpactl.train.batch_shapes import BatchShapes
from tpactl.train.batches import Course
from tpactl.train.compiled import Compiled
from tpactl.train.engine import Eager, Engine
from tpactl.train.examples import Split
from tpactl.train.graphs import Graphed
from tpactl.train.prefix_cache import CachedPrefix
from tpactl.train.ranks import Ranks
from tpactl.train.trained import Trained

SPARE_FRAMES = 64
"""After subsampling, beyond what durations promise: features may be a little longer."""

COMPILED_FROM = 100_000_000
"""Parameters of a base whose elementwise work is worth a compiler's time."""

COMPILED_STEPS = 2_000
"""A shorter training ends before the compiler's time is won back: half a minute for one shape and
up to two for any, against some fifty milliseconds a step of a billion parameters."""


def choose(
    base: Base,
    trained: Trained,
    config: RunConfig,
    train: Split,
    course: Course,
    *,
    cached: CachedPrefix | None,
    ranks: Ranks,
    autocast: Callable[[], AbstractContextManager[None]],
    may_round: bool,
    note: Callable[[str], None],
) -> Engine:
    """Return what computes the steps of a training.

    Args:
        base: with the trained part active.
        trained: what is trained.
        config: fully resolved, the precision too.
        train: what is learnt from.
        course: the batches.
        cached: the frozen blocks' outputs, where they are not computed in each step.
        ranks: the processes that share each batch.
        autocast: of the precision, for modules that are not rewritten.
        may_round: nobody else computes with the base's frozen weights.
        note: told how the steps are computed, on a CUDA device.

    Raises:
        UsageError: ``fast`` is ``on``, and nothing of it applies.
    """
    assert config.precision != "auto"
    device = base.device
    is_cuda = device.type == "cuda"
    plain = Eager(
        base.forward if cached is None else cached.cut.forward,
        base.output_lengths if cached is None else _same,
        device,
        autocast,
    )
    if config.fast is False:
        return plain
    captured = is_cuda and not _why_no_graphs(base, config)
    is_rewritten = (
        trained.adapter is not None
        and fast.applies(base, trained.adapter)
        and not config.training.activation_checkpointing
        # The rewritten blocks drop units of the bottlenecks alone.
        and not config.training.dropout
    )
    compiled = (
        is_cuda
        # What lies between their products is a kernel already.
        and not is_rewritten
        and base.num_parameters >= COMPILED_FROM
        and len(course) >= COMPILED_STEPS
        # Its blocks are computed twice by functions of their own.
        and not config.training.activation_checkpointing
    )
    if config.fast is True and not (is_rewritten or captured or compiled):
        reason = _why_no_graphs(base, config) or "its modules are not rewritten"
        raise UsageError(
            f"fast is on, but nothing of it applies to {config.method} on this base: {reason}",
            "set fast=auto",
        )
    if not (is_rewritten or captured or compiled):
        return plain
    batches = BatchShapes(base, train, config, cached, ranks)
    shapes = batches.shapes(course)
    parameters = [*trained.body(), *trained.head()]
    forward = plain.forward
    said = []
    if is_rewritten:
        assert trained.adapter is not None
        dtype = torch.bfloat16 if config.precision == "bf16" else base.dtype
        if may_round and dtype == torch.bfloat16:
            round_frozen(base.model)
        longest = max(batches.frames_out(shape.frames) for shape in shapes) + SPARE_FRAMES
        # Rounded or not, the base's weights are now those of the rewritten blocks.
        path = fast.FastPath(base, trained.adapter, longest, dtype, lend=may_round)
        said.append("rewritten blocks")
        forward = path if cached is None else path.above
        autocast = nullcontext
    if compiled:
        # The shapes of steps that are not captured are not held to the few of the plan.
        dynamic = not captured or len(shapes) > 1
        blocks = [block.module for block in base.blocks]
        forward = Compiled(forward, blocks, parameters, dynamic=dynamic, note=note)
        said.append("compiled blocks")
    eager = Eager(forward, plain.output_lengths, device, autocast)
    if captured:
        said.append(f"{len(shapes)} captured shape{'s' if len(shapes) > 1 else ''}")
    if is_cuda:
        note(f"steps: {', '.join(said)}")
    if is_cuda and is_rewritten and (reason := kernels.why_not()):
        note(f"the kernels of the rewritten blocks cannot run, and steps are slower: {reason}")
    if not captured:
        return eager
    return Graphed(eager, parameters, shapes, batches.tail, batches.dtype, note)


def round_frozen(model: nn.Module) -> None:
    """Keep the weights of linear layers and convolutions in bfloat16 alone.

    Under autocast they were rounded in every step, so that what is computed stays the same bit for
    bit; norms and statistics stay in float32.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            module.to(torch.bfloat16)


def _why_no_graphs(base: Base, config: RunConfig) -> str:
    if config.training.activation_checkpointing:
        return "activation checkpointing computes blocks again"
    if base.decoder.name != "ctc":
        return "the loss of a transducer trains networks of its own, beside the captured passes"
    if base.family.padding_leaks:
        return f"models of the family {base.family.name} hear padding"
    whole: Any = base.model.config
    if config.training.dropout and getattr(whole, "encoder_config", whole).layerdrop:
        return "the base drops whole layers at random"
    return ""


def _same(lengths: Tensor) -> Tensor:
    return lengths
