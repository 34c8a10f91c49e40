"""The one place that imports torchaudio, and only when asked: its library needs a matching torch.

torchaudio 2.11's binaries link CUDA's, so beside a CPU build of torch the import itself fails.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from typing import Any

import numpy as np

from tpactl.errors import MachineError

_LOADING_FAILURES = (ImportError, OSError, RuntimeError, AttributeError)


@cache
def available() -> tuple[bool, str]:
    """Return whether torchaudio loads here, and its version or the reason why it does not."""
    try:
        module = _load()
    except ModuleNotFoundError:
        return False, "not installed"
    except _LOADING_FAILURES as error:
        return False, (str(error).splitlines() or [type(error).__name__])[0]
    return True, str(module.__version__)


def resample(
    samples: np.ndarray[tuple[int], np.dtype[np.float32]], from_rate: int, to_rate: int
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return ``samples`` at ``to_rate`` by torchaudio's windowed sinc.

    Raises:
        MachineError: torchaudio does not load here.
    """
    import torch

    is_there, reason = available()
    if not is_there:
        raise MachineError(
            f"torchaudio does not load here: {reason}",
            "nothing needs it, soxr resamples; to use it, install the one made for this torch",
        )
    made: np.ndarray[tuple[int], np.dtype[np.float32]] = (
        _load().functional.resample(torch.from_numpy(samples), from_rate, to_rate).numpy()
    )
    return made


def _load() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("torchaudio.functional")
        return importlib.import_module("torchaudio")
