"""The one place that imports torchaudio, which cannot be taken for granted.

Its wheels link CUDA's libraries, so beside a CPU build of torch ``import torchaudio`` raises OSError.
tpactl resamples with soxr and needs torchaudio for nothing; where it loads, it is used to check
ours against (``tests/audio``).
"""

from __future__ import annotations

import importlib
from functools import cache


@cache
def available() -> tuple[bool, str]:
    """Return whether torchaudio loads here, and its version or the reason why it does not."""
    try:
        module = importlib.import_module("torchaudio")
    except ImportError:
        return False, "not installed"
    except OSError as error:
        return False, str(error).splitlines()[0]
    return True, str(module.__version__)
