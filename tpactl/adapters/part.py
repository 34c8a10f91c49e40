"""A part of an adapter: the trained tensors that belong to one module of the base."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from tpactl.errors import UsageError


class Removable(Protocol):
    """Something in place on a base, as torch's hook handles are."""

    def remove(self) -> None:
        """Take it off again."""


class Part(nn.Module):
    """Trained tensors and how the base feels them; what every method's parts derive from.

    Args:
        path: exact path of the module of the base it belongs to.
    """

    listed_under: ClassVar[tuple[str, ...]] = ("target_modules",)
    """Keys of ``adapter_config.json`` that name its path."""
    yields_to_decoder: ClassVar[bool] = False
    """Left out where its module lies in one that is trained whole; otherwise that is refused."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def put_on(self) -> list[Removable]:
        """Make the base compute with this part, until what is returned is removed.

        The base's tensors and modules stay the same ones.
        """
        raise NotImplementedError

    def stored(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every trained tensor under the name it is stored by, in a fixed order."""
        for name, tensor in self.named_parameters():
            yield f"{self.path}.{name}", tensor

    def merge_into(self, model: nn.Module) -> None:
        """Make ``model``, a copy of the base's, compute with this part by itself.

        Raises:
            UsageError: it cannot become part of a model.
        """
        raise UsageError(
            f"the part at {self.path} cannot be merged into the model", "serve it unmerged"
        )


class Instead:
    """Has ``module`` compute ``forward`` in place of what it computed before, until removed.

    An attribute of the instance, so that the module keeps its place, its tensors and its hooks.
    Several may lie upon each other; the last is removed first.
    """

    def __init__(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        self._module = module
        self._before: Callable[..., Any] | None = module.__dict__.get("forward")
        module.__dict__["forward"] = forward

    def remove(self) -> None:
        """Let the module compute what it did before."""
        if self._before is None:
            self._module.__dict__.pop("forward", None)
        else:
            self._module.__dict__["forward"] = self._before


@contextmanager
def computing(instead: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Have each module compute the function beside it for a while; see ``Instead``."""
    replaced = [Instead(module, forward) for module, forward in instead]
    try:
        yield
    finally:
        for one in reversed(replaced):
            one.remove()
