"""The processes that train together, started by ``torchrun`` or ``accelerate launch``.

Each holds the whole model and computes its share of every batch; the gradients are added up. One
process alone is the ordinary case, in which nothing here communicates.

Only what is trained is exchanged, so a frozen base costs nothing: an adapter's gradients are a few
megabytes an update, and no wrapper stands around the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from tpactl.bases import devices
from tpactl.errors import MachineError, reason_of

T = TypeVar("T")

BUCKET = 2**24
"""Numbers exchanged in one message."""

PATIENCE = timedelta(minutes=30)
"""For a process that reads or measures longer than the others."""

_FAILED = "tpactl/failed"
_EXIT_CODE = "tpactl/exit_code"


class OtherProcessError(Exception):
    """Another process has said already why the training ended.

    Args:
        exit_code: of that process.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Ranks:
    """This process among those that train together.

    Args:
        index: of this process, from 0.
        count: of all processes.
        device: where this process computes.
    """

    def __init__(self, index: int, count: int, device: str) -> None:
        self.index = index
        self.count = count
        self.device = device

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and shows."""
        return self.index == 0

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace every gradient by its sum over all processes; a missing one counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        bucket: list[Tensor] = []
        for parameter in parameters:
            assert parameter.grad is not None
            bucket.append(parameter.grad)
            if sum(gradient.numel() for gradient in bucket) >= BUCKET:
                self._add(bucket)
                bucket = []
        if bucket:
            self._add(bucket)

    def add(self, numbers: Tensor) -> Tensor:
        """Return the sum of ``numbers`` over all processes."""
        if self.count > 1:
            numbers = numbers.clone()
            _exchange(lambda: dist.all_reduce(numbers))
        return numbers

    def gather(self, value: T) -> list[T]:
        """Return every process's ``value``, in their order."""
        if self.count == 1:
            return [value]
        values: list[T] = [value] * self.count
        _exchange(lambda: dist.all_gather_object(values, value))
        return values

    def agree(self, value: T) -> T:
        """Return the first process's ``value``."""
        if self.count == 1:
            return value
        values = [value]
        _exchange(lambda: dist.broadcast_object_list(values, src=0))
        return values[0]

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            _exchange(dist.barrier)

    def leave(self) -> None:
        """End the exchange, in every process, after a training that succeeded."""
        if self.count > 1:
            self.wait()
            PartialState().destroy_process_group()
            AcceleratorState._reset_state(reset_partial_state=True)

    @contextmanager
    def one_speaks(self) -> Iterator[None]:
        """Let an error of the block through in the process that failed first.

        Raises:
            OtherProcessError: in the other processes, which end because the first one did.
        """
        try:
            yield
        except BaseException as error:
            if self.count == 1 or self._is_first_to_fail(error):
                raise
            raise OtherProcessError(self._exit_code()) from error

    def _add(self, bucket: list[Tensor]) -> None:
        flat = self.add(torch.cat([gradient.reshape(-1) for gradient in bucket]))
        for gradient, summed in zip(
            bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True
        ):
            gradient.copy_(summed.view_as(gradient))

    @staticmethod
    def _is_first_to_fail(error: BaseException) -> bool:
        try:
            store = dist.distributed_c10d._get_default_store()
            if store.add(_FAILED, 1) > 1:
                return False
            store.set(_EXIT_CODE, str(getattr(error, "exit_code", 1)))
        except (RuntimeError, ValueError):
            # The store lives in the launcher or in the first process, which is gone: it has spoken.
            return False
        return True

    @staticmethod
    def _exit_code() -> int:
        with suppress(RuntimeError, ValueError):
            store = dist.distributed_c10d._get_default_store()
            store.wait([_EXIT_CODE], timedelta(seconds=2))
            return int(store.get(_EXIT_CODE))
        return MachineError.exit_code


def join(device: str) -> Ranks:
    """Return this process among those its launcher started; alone where there is no launcher.

    Args:
        device: as a run file names it; of several GPUs each process gets its own.

    Raises:
        UsageError: no such kind of device.
        MachineError: this machine has none of that kind.
    """
    chosen = devices.choose(device)
    AcceleratorState._reset_state(reset_partial_state=True)
    state = PartialState(cpu=chosen == "cpu", timeout=PATIENCE)
    if state.num_processes > 1 and chosen == "cuda":
        chosen = devices.choose(f"cuda:{state.local_process_index}")
    return Ranks(state.process_index, state.num_processes, chosen)


def _exchange(action: Callable[[], object]) -> None:
    try:
        action()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise MachineError(
            f"another process of this training ended: {reason_of(error)}",
            "read what it said last; then start all of them again, with --resume",
        ) from error
