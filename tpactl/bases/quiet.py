"""Make the libraries below us importable here, and keep them from talking to our users."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tpactl.audio import torchaudio


@cache
def quiet() -> None:
    """Silence the warnings, logs and progress bars of torch, transformers and their like.

    Call it before the first import from transformers. An error still raises; only chatter goes.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category)
    for name in ("torch", "transformers", "accelerate", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    _hide_broken_torchaudio()
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Send to nowhere what a library writes to the process's stderr past Python."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _hide_broken_torchaudio() -> None:
    """Let transformers believe that a torchaudio that does not load is not installed.

    ``transformers.audio_utils`` imports torchaudio wherever its files are found, and every speech
    model imports ``transformers.audio_utils``. Can go when transformers asks whether it loads.
    """
    if torchaudio.available()[0]:
        return
    import transformers.utils
    from transformers.utils import import_utils

    modules: tuple[Any, ...] = (import_utils, transformers.utils)
    for module in modules:
        module.is_torchaudio_available = lambda: False
