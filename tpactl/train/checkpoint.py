"""Saves a training so that it can go on, bit for bit, where it was cut off; and reads it back.

The format is in ``formats.checkpoint``. Nothing here is pickled.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as serialise_safetensors
from torch import Tensor

from tpactl import __version__
from tpactl.errors import IntegrityError
from tpactl.formats.checkpoint import (
    FOLDER,
    PARTS,
    RECORD,
    SCHEMA_VERSION,
    Checkpoint,
    DevScore,
    folders,
    name,
)
from tpactl.formats.files import (
    read_json,
    sha256_of,
    whole_folder,
    write_bytes,
    write_json,
)
from tpactl.formats.unfinished import clear_dead
from tpactl.train.dev import Score
from tpactl.train.same_training import Identity, refuse_another
from tpactl.train.trained import State


@dataclass
class Best:
    """The best state so far; the untrained one counts as step 0."""

    step: int
    score: Score
    state: State
    since: int = 0
    """Measurements since."""

    def offer(self, step: int, score: Score, state: State) -> bool:
        """Keep ``state`` where ``score`` is better, and return whether it was."""
        if score.rank < self.score.rank:
            self.step, self.score, self.state, self.since = step, score, state, 0
            return True
        self.since += 1
        return False


@dataclass
class Standing:
    """How far a training has come."""

    untrained: Score
    best: Best
    step: int = 0
    progress: float = 0.0
    audio_s: float = 0.0
    first_loss: float | None = None


@dataclass(frozen=True)
class Saved:
    """A checkpoint read back."""

    record: Checkpoint
    trained: State
    best: State
    optimizer: dict[str, Tensor]
    generators: dict[str, Tensor]

    @property
    def standing(self) -> Standing:
        """How far the training had come."""
        record = self.record
        best = Score(record.best.wer, record.best.cer)
        return Standing(
            untrained=Score(record.untrained.wer, record.untrained.cer),
            best=Best(record.best_step, best, self.best, record.measured_since_best),
            step=record.step,
            progress=record.progress,
            audio_s=record.audio_s,
            first_loss=record.first_loss,
        )


class Checkpoints:
    """Those of one training, the newest few of them.

    Args:
        run: the unfinished run folder.
        identity: of the training.
        keep: how many are kept.
    """

    def __init__(self, run: Path, identity: Identity, keep: int) -> None:
        self._run = run
        self._identity = identity
        self._keep = keep

    def save(
        self,
        standing: Standing,
        trained: State,
        optimizer: torch.optim.Optimizer,
        *,
        seconds: float,
        peak_memory_bytes: int,
        events_bytes: int,
    ) -> None:
        """Write a checkpoint, whole or not at all, and delete those that are too old.

        Raises:
            MachineError: the disk is full; the earlier checkpoints are untouched.
        """
        content = serialised(standing, trained, optimizer)
        record = Checkpoint(
            tpactl_version=__version__,
            step=standing.step,
            progress=standing.progress,
            seconds=seconds,
            audio_s=standing.audio_s,
            peak_memory_bytes=peak_memory_bytes,
            first_loss=standing.first_loss,
            untrained=DevScore(wer=standing.untrained.wer, cer=standing.untrained.cer),
            best=DevScore(wer=standing.best.score.wer, cer=standing.best.score.cer),
            best_step=standing.best.step,
            measured_since_best=standing.best.since,
            events_bytes=events_bytes,
            config=self._identity.config,
            base_digest=self._identity.base_digest,
            data_digest=self._identity.data_digest,
            augment_digests=self._identity.augment_digests,
            digests={f"{part}.safetensors": sha256_of(bytes_) for part, bytes_ in content.items()},
        )
        place = self._run / FOLDER / name(standing.step)
        with whole_folder(place, replace=True) as building:
            for part, bytes_ in content.items():
                write_bytes(building / f"{part}.safetensors", bytes_)
            write_json(building / RECORD, record)
        for old in folders(self._run)[: -self._keep]:
            shutil.rmtree(old)

    def newest(self) -> Saved | None:
        """Return the newest checkpoint, ``None`` where there is none.

        Raises:
            IntegrityError: it was damaged or written by another version.
            UsageError: it belongs to a training with other data, base or settings; all are named.
        """
        clear_dead(self._run / FOLDER)
        found = folders(self._run)
        if not found:
            return None
        saved = read(found[-1])
        refuse_another(saved.record, self._identity)
        return saved


def serialised(
    standing: Standing, trained: State, optimizer: torch.optim.Optimizer
) -> dict[str, bytes]:
    """Return the content of a checkpoint's files of tensors, by part."""
    tensors = (trained, standing.best.state, optimizer_tensors(optimizer), generator_states())
    return {part: serialise_safetensors(t) for part, t in zip(PARTS, tensors, strict=True)}


def read(folder: Path) -> Saved:
    """Return the checkpoint in ``folder``.

    Raises:
        IntegrityError: a part is missing or was changed, or another version wrote it.
    """
    record = read_json(folder / RECORD, Checkpoint)
    if record.schema_version != SCHEMA_VERSION:
        raise IntegrityError(
            f"{folder} has schema version {record.schema_version}; this tpactl reads "
            f"{SCHEMA_VERSION}",
            "continue with the version that began it, or start anew with --force",
        )
    tensors = {}
    for part in PARTS:
        file = f"{part}.safetensors"
        try:
            content = (folder / file).read_bytes()
            intact = sha256_of(content) == record.digests.get(file)
            tensors[part] = parse_safetensors(content) if intact else {}
        except (OSError, SafetensorError):
            intact = False
        if not intact:
            raise IntegrityError(
                f"{folder / file} is damaged: its content is not what {RECORD} names",
                f"delete {folder}; --resume then continues from the checkpoint before it",
            )
    return Saved(record, **tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state under ``<parameter number>.<name>``, on the CPU."""
    return {
        f"{number}.{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for number, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what ``optimizer_tensors`` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for place, tensor in tensors.items():
        number, _, key = place.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def generator_states() -> dict[str, Tensor]:
    """Return the states of torch's random generators."""
    states = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{index}"] = state
    return states


def restore_generators(states: dict[str, Tensor]) -> None:
    """Put back what ``generator_states`` returned, for the devices that are here."""
    torch.random.set_rng_state(states["cpu"])
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(here):
        if f"cuda:{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda:{index}"], index)
