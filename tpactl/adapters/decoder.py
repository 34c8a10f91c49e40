"""What of the decoder is trained: nothing, the head, or modules named by their exact paths.

The head is what gives the logits: a CTC base's only layer, or the output layer of a transducer's
joint network.
"""

from __future__ import annotations

import copy
import difflib
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tpactl.adapters.computed import computed
from tpactl.adapters.part import Instead, Part, Removable
from tpactl.bases.base import Base
from tpactl.errors import UsageError


class OwnModule(Part):
    """A trained copy of a module of the base, in float32, that is heard in its place.

    It never leaves ``eval()``, as the base never does: BatchNorm's running statistics stay.
    """

    listed_under: ClassVar[tuple[str, ...]] = ("modules_to_save",)

    def __init__(self, path: str, module: nn.Module, *, returns_float: bool) -> None:
        super().__init__(path)
        self.own = copy.deepcopy(module).float().requires_grad_(True).eval()
        self._module = (module,)
        self._returns_float = returns_float

    def train(self, mode: bool = True) -> OwnModule:
        """Stay in ``eval()``."""
        super().train(False)
        return self

    def put_on(self) -> list[Removable]:
        """Have the base call the copy."""
        return [Instead(self._module[0], self._compute)]

    def stored(self) -> Any:
        """Yield the copy's tensors under their names in the base."""
        for name, tensor in self.own.named_parameters():
            yield f"{self.path}.{name}", tensor

    def merge_into(self, model: nn.Module) -> None:
        """Put the copy into ``model``, in the dtype of the module it replaces; exact."""
        dtype = next(self._module[0].parameters()).dtype
        model.set_submodule(self.path, copy.deepcopy(self.own).to(dtype))

    def _compute(self, *args: Any, **kwargs: Any) -> Any:
        theirs = next(self._module[0].parameters())
        if torch.is_autocast_enabled(theirs.device.type):
            return self.own(*args, **kwargs)
        out = self.own(
            *_floats_as(torch.float32, args),
            **{key: _floats_as(torch.float32, value) for key, value in kwargs.items()},
        )
        return out if self._returns_float else _floats_as(theirs.dtype, out)


def own_modules(base: Base, decoder: list[str] | str) -> list[OwnModule]:
    """Return trained copies of what ``decoder`` names; the base must be without an adapter.

    Args:
        base: whose.
        decoder: ``none``, ``head``, or exact module paths, ``head`` among them if wanted.

    Raises:
        UsageError: a path that is none, holds nothing to train, lies in another one, or is never
            computed.
    """
    names = {"none": [], "head": ["head"]}[decoder] if isinstance(decoder, str) else decoder
    paths = [base.head_path if name == "head" else name for name in names]
    modules = {path: module for path, module in base.model.named_modules() if path}
    faults = [fault for path in dict.fromkeys(paths) if (fault := _fault(path, paths, modules))]
    if faults:
        raise UsageError(
            faults[0],
            "give exact paths of modules of the base, or head",
            faults[1:],
        )
    named = {path: modules[path] for path in paths if path != base.head_path}
    unused = named.keys() - computed(base, named) if named else ()
    if unused:
        raise UsageError(
            f"decoder: the base never computes {', '.join(sorted(unused))}, so that training it "
            "would change nothing",
            "name modules that the base computes",
        )
    return [OwnModule(path, modules[path], returns_float=path == base.head_path) for path in paths]


def _fault(path: str, paths: list[str], modules: dict[str, nn.Module]) -> str | None:
    if path not in modules:
        close = difflib.get_close_matches(path, modules, n=3, cutoff=0.0)
        return f"decoder: the base has no module {path!r}; the nearest are {', '.join(close)}"
    if paths.count(path) > 1:
        return f"decoder: {path} is named twice"
    if isinstance(modules[path], nn.ModuleList | nn.ModuleDict):
        return f"decoder: {path} is a list of modules; name those in it"
    if not any(True for _ in modules[path].parameters()):
        return f"decoder: {path} has nothing to train"
    outer = [other for other in paths if path.startswith(f"{other}.")]
    return f"decoder: {path} lies in {outer[0]}" if outer else None


def _floats_as(dtype: torch.dtype, value: Any) -> Any:
    """Return ``value`` with its floating-point tensors in ``dtype``, those in tuples too."""
    if isinstance(value, tuple):
        return tuple(_floats_as(dtype, item) for item in value)
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(dtype) if is_float else value
