"""A short input and the logits it must give: proof that the adapter works on this machine.

Digests show that nothing changed; the canary shows that it still computes the same, through feature
extraction, base and adapter, on whatever processor and library versions are here. It is stored at
packaging and computed again by ``tpactl verify --base``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tpactl.errors import IntegrityError
from tpactl.formats.package import CANARY_FILE
from tpactl.package.strict import damaged
from tpactl.package.tensors import deserialise, serialise

if TYPE_CHECKING:
    from tpactl.bases.base import Base

SAMPLE_RATE = 16_000
TOLERANCE = 1e-3
"""Largest difference between a stored and a recomputed logit. fp32 on other processors, threads and
library versions stays below 1e-4."""
_NUM_SAMPLES = 24_000
_CANDIDATES = 8
_COMFORTABLE = 4 * TOLERANCE
"""Lead of the best label over the next at every frame that a canary should have, so that the greedy
path cannot change within the tolerance."""


@dataclass(frozen=True)
class Canary:
    """Input and expected output.

    Attributes:
        waveform: (num_samples,) int16 at 16 kHz.
        logits: (frames, outputs) float32, of base and adapter together; those of a transducer
            after three fixed labels.
    """

    waveform: np.ndarray
    logits: np.ndarray

    def to_bytes(self) -> bytes:
        """Return the content of ``canary.safetensors``."""
        return serialise(
            {"waveform": self.waveform, "logits": self.logits},
            {"sample_rate": str(SAMPLE_RATE), "precision": "fp32"},
        )


@dataclass(frozen=True)
class CanaryResult:
    """How a recomputed canary compares with the stored one."""

    max_difference: float
    """Between a stored logit and the same one recomputed."""
    tolerance: float
    frames: int
    same_path: bool
    adapter_effect: float
    """Largest difference between logits with the adapter and without it."""

    @property
    def passed(self) -> bool:
        """Whether this machine computes what the packaging one did."""
        return self.max_difference <= self.tolerance and self.same_path

    @property
    def hears_the_adapter(self) -> bool:
        """Whether the canary would fail if the adapter were off."""
        return self.adapter_effect > 2 * self.tolerance


def read(content: bytes) -> Canary:
    """Return the canary stored in ``content``.

    Raises:
        IntegrityError: it is no canary.
    """
    arrays = deserialise(content, CANARY_FILE)
    if arrays.keys() != {"waveform", "logits"}:
        raise damaged(CANARY_FILE, "it must hold a waveform and logits, nothing else")
    canary = Canary(arrays["waveform"], arrays["logits"])
    if canary.waveform.dtype != np.int16 or canary.waveform.ndim != 1 or not len(canary.waveform):
        raise damaged(CANARY_FILE, "its waveform is not one row of 16-bit samples")
    if canary.logits.dtype != np.float32 or canary.logits.ndim != 2 or not canary.logits.size:
        raise damaged(CANARY_FILE, "its logits are not frames of float32")
    if not np.isfinite(canary.logits).all():
        raise damaged(CANARY_FILE, "its logits are not finite")
    return canary


def make(base: Base, adapter_folder: Path) -> Canary:
    """Return a canary for the adapter in ``adapter_folder``, computed on ``base``.

    Of a few fixed waveforms it takes the first whose best labels lead comfortably at every frame,
    or else the one whose narrowest lead is widest.

    Args:
        base: on the CPU in float32.
        adapter_folder: what ``adapters.store.save`` wrote.
    """
    best: Canary | None = None
    with _sounding(base, adapter_folder):
        for seed in range(_CANDIDATES):
            wave = waveform(seed)
            candidate = Canary(wave, _logits(base, wave))
            if best is None or _narrowest_lead(candidate.logits) > _narrowest_lead(best.logits):
                best = candidate
            if _narrowest_lead(best.logits) >= _COMFORTABLE:
                break
    assert best is not None
    return best


def compute(canary: Canary, base: Base, adapter_folder: Path) -> CanaryResult:
    """Return how ``base`` with the adapter reproduces ``canary``.

    Raises:
        IntegrityError: the logits have another shape than the stored ones.
    """
    alone = _logits(base, canary.waveform)
    with _sounding(base, adapter_folder):
        now = _logits(base, canary.waveform)
    if now.shape != canary.logits.shape:
        raise damaged(
            CANARY_FILE,
            f"base and adapter give logits of shape {list(now.shape)}, "
            f"stored are {list(canary.logits.shape)}",
        )
    # Where two labels are closer than twice the tolerance, the better one is a matter of rounding.
    clear = _leads(canary.logits) > 2 * TOLERANCE
    return CanaryResult(
        max_difference=float(np.abs(now - canary.logits).max()),
        tolerance=TOLERANCE,
        frames=len(now),
        same_path=bool((now.argmax(1) == canary.logits.argmax(1))[clear].all()),
        adapter_effect=float(np.abs(now - alone).max()),
    )


def check(result: CanaryResult) -> None:
    """Raise where the canary was not reproduced.

    Raises:
        IntegrityError: with the difference, and the largest one allowed.
    """
    if result.passed:
        return
    path = "the same" if result.same_path else "another"
    raise IntegrityError(
        f"canary: base and adapter give logits up to {result.max_difference:.2g} away from those "
        f"stored at packaging ({result.tolerance:g} is allowed) and {path} greedy path",
        "compare library versions (tpactl doctor) with those of the machine that packaged it",
    )


def waveform(seed: int) -> np.ndarray:
    """Return 1.5 s of chirps and noise in bursts, (24000,) int16, equal on every machine.

    Only integer arithmetic: sines and random generators differ between libraries.
    """
    n = np.arange(_NUM_SAMPLES, dtype=np.int64)
    # Numerical Recipes' linear congruential generator, in closed form over the sample's number.
    noise = np.zeros(_NUM_SAMPLES, dtype=np.int64)
    state = 12_345 + seed
    for i in range(_NUM_SAMPLES):
        state = (1_664_525 * state + 1_013_904_223) & 0xFFFFFFFF
        noise[i] = (state >> 16) - 32_768
    tone = np.zeros(_NUM_SAMPLES, dtype=np.int64)
    for harmonic in (1, 2, 5, 9):
        rising = 110 + 13 * seed + n // 160  # Hz: 110 to 260 over the 1.5 s
        phase = np.cumsum(harmonic * rising * 65_536 // SAMPLE_RATE) & 0xFFFF
        # A parabola for each half wave: close to a sine, and exact.
        half = phase & 0x7FFF
        bow = (half * (32_768 - half)) >> 14
        tone += np.where(phase < 0x8000, bow, -bow) // harmonic
    burst = (n % 4_000) * (4_000 - n % 4_000) // 4_000  # 0 to 1000, four times a second
    return ((tone * burst // 4_000) + (noise * (200 + burst // 4)) // 8_000).astype(np.int16)


@contextmanager
def _sounding(base: Base, adapter_folder: Path) -> Iterator[None]:
    """Have the adapter on ``base`` while the block runs."""
    from tpactl.adapters.attach import activate
    from tpactl.adapters.store import load

    before = base.active_adapter
    adapter = load(base, adapter_folder, name="canary")
    activate(base, adapter)
    try:
        yield
    finally:
        activate(base, before)


def _logits(base: Base, wave: np.ndarray) -> np.ndarray:
    """Return the valid (frames, outputs) logits of one int16 waveform."""
    import torch

    threads = torch.get_num_threads()
    # One thread adds up in one order: the same bytes on every run of one machine.
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            samples = wave.astype(np.float32) / 32_768
            frames, lengths = base.logits(base.features([samples]))
            logits = base.decoder.probe(frames)
        return logits[0, : int(lengths[0])].float().cpu().numpy()
    finally:
        torch.set_num_threads(threads)


def _leads(logits: np.ndarray) -> np.ndarray:
    """Return by how much the best label leads the next, for each frame."""
    if logits.shape[1] < 2:
        return np.full(len(logits), np.inf)
    two = np.partition(logits, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def _narrowest_lead(logits: np.ndarray) -> float:
    return float(_leads(logits).min())
