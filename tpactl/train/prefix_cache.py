"""The frozen prefix of every utterance, computed once and read from disk in each step.

Training then runs only the blocks from the lowest one that is trained. Augmentation has to happen
before the prefix, so each utterance has a number of augmented copies, which the epochs take in
turn. Dev has one copy, as it was recorded, in the batches and the numbers of a measurement without
a cache, so that the error rates are the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from tpactl.adapters.adapter import Adapter
from tpactl.adapters.prefix import Hidden, NoPrefixError, Prefix
from tpactl.bases.base import Base, Features
from tpactl.bases.recognise import plan_batches
from tpactl.errors import InputError, MachineError, UsageError
from tpactl.formats.augment import AugmentSettings
from tpactl.formats.dataset import DataSet
from tpactl.formats.files import canonical_json, read_json, sha256_of, whole_folder, write_json
from tpactl.formats.prefix import FRAMES_FILES, INDEX_FILE, PrefixIndex, PrefixKey
from tpactl.formats.progress import Progress
from tpactl.formats.run import RunConfig, TrainingSettings
from tpactl.train.augment import spec_augment
from tpactl.train.dev import measuring_batch_s
from tpactl.train.examples import Split
from tpactl.train.ranks import Ranks
from tpactl.train.surroundings import is_asked_for

BATCH_S = 120.0
"""Seconds of the train split computed at once, padding included."""

_KEPT: dict[str, np.dtype[Any]] = {"bfloat16": np.dtype("<i2"), "float32": np.dtype("<f4")}
"""As numpy reads them; it knows no bfloat16."""


class Frames(Protocol):
    """What left the prefix, by utterance and epoch: on disk, or computed where it is asked for."""

    def num_frames(self, batch: Sequence[int], epoch: int) -> list[int]:
        """Return the frames of each utterance of ``batch`` as ``epoch`` hears it."""

    def read(self, batch: Sequence[int], epoch: int) -> Hidden:
        """Return the utterances of ``batch`` as ``epoch`` hears them, zero-padded, on the CPU."""


@dataclass(frozen=True)
class CachedPrefix:
    """What a step or a measurement computes, and what it reads, where the lower half is cached."""

    cut: Prefix
    cache: Frames
    dev: Frames

    def inputs(self, batch: Sequence[int], epoch: int) -> Features:
        """Return what enters the upper half, on the CPU, with the lengths after subsampling."""
        hidden = self.cache.read(batch, epoch)
        return Features(hidden.frames, hidden.lengths)

    def dev_logits(self, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return (batch, frames, vocabulary) logits of dev utterances, and their lengths."""
        return self.cut.logits(self.dev.read(batch, 0))


def augmented_copies(settings: TrainingSettings, augment: AugmentSettings) -> int:
    """Return how many copies of each utterance are kept.

    Args:
        settings: with every ``None`` decided.
        augment: likewise.

    Raises:
        UsageError: new augmentation in every step was asked for, or dropout, which no cache can
            hold.
    """
    if settings.dropout:
        raise UsageError(
            "training.cached_prefix keeps what leaves the frozen blocks, but training.dropout "
            "drops other units of them in every step",
            "set training.dropout=false",
        )
    asked_for = {
        "training.spec_augment": settings.spec_augment,
        "training.speed_perturbation": settings.speed_perturbation,
        "augment.noise": augment.noise,
        "augment.rir": augment.rir,
        "augment.telephone": augment.telephone,
    }
    changing = [key for key, value in asked_for.items() if value]
    if not changing:
        return 1
    if settings.cached_copies is None:
        change = "changes" if len(changing) == 1 else "change"
        raise UsageError(
            "training.cached_prefix keeps what leaves the frozen blocks, but "
            f"{' and '.join(changing)} {change} the input anew in every step",
            "set training.cached_copies=4 to keep so many augmented copies of each utterance, or "
            "turn the augmentation off",
        )
    return settings.cached_copies


def make_keys(
    *,
    base_digest: str,
    data_digest: str,
    train: Split,
    dev: Split,
    cut: Prefix,
    precision: str,
    config: RunConfig,
    augment_digests: dict[str, str],
) -> tuple[PrefixKey, PrefixKey]:
    """Return what the frames of ``train`` and of ``dev`` depend on.

    Raises:
        UsageError: as ``augmented_copies``.
        InputError: audio is missing.
    """
    settings = config.training
    of_train = PrefixKey(
        base_digest=base_digest,
        data_digest=data_digest,
        split="train",
        audio_files=_audio_files(train),
        num_blocks=cut.num_blocks,
        precision=precision,
        dtype="bfloat16",
        batch_s=BATCH_S,
        copies=augmented_copies(settings, config.augment),
        spec_augment=bool(settings.spec_augment),
        speed_perturbation=bool(settings.speed_perturbation),
        augment=(
            msgspec.structs.replace(config.augment, **augment_digests)
            if is_asked_for(config.augment)
            else None
        ),
        seed=settings.seed,
    )
    of_dev = msgspec.structs.replace(
        of_train,
        split="dev",
        audio_files=_audio_files(dev),
        dtype="float32",
        batch_s=measuring_batch_s(settings),
        copies=1,
        spec_augment=False,
        speed_perturbation=False,
        augment=None,
        seed=0,
    )
    return of_train, of_dev


def _audio_files(split: Split) -> str:
    files = []
    for example in split.examples:
        try:
            state = example.path.stat()
        except OSError as error:
            raise InputError(
                f"{example.path}: cannot be read: {error.strerror or error}",
                "prepare the data set again",
            ) from error
        files.append([example.id, state.st_size, state.st_mtime_ns])
    return sha256_of(canonical_json(files))


class PrefixCache:
    """A cache on disk, memory-mapped.

    Args:
        folder: what ``build`` wrote.
        key: what it must have been made of.

    Raises:
        InputError: it is of something else, or cut off.
    """

    def __init__(self, folder: Path, key: PrefixKey) -> None:
        index = read_json(folder / INDEX_FILE, PrefixIndex)
        frames = folder / FRAMES_FILES[key.dtype]
        rows = sum(map(sum, index.lengths))
        kept = _KEPT[key.dtype]
        size = rows * index.d_model * kept.itemsize
        if index.key != key or frames.stat().st_size != size:
            raise InputError(
                f"{folder} is not the cached prefix of this training", "delete it and train again"
            )
        self._index = index
        self._rows = np.memmap(frames, dtype=kept, mode="r", shape=(rows, index.d_model))

    def num_frames(self, batch: Sequence[int], epoch: int) -> list[int]:
        """Return the frames of each utterance of ``batch`` as ``epoch`` hears it."""
        lengths = self._index.lengths[epoch % self._index.key.copies]
        return [lengths[i] for i in batch]

    def read(self, batch: Sequence[int], epoch: int) -> Hidden:
        """Return the utterances of ``batch`` as ``epoch`` hears them, zero-padded, as kept."""
        copy = epoch % self._index.key.copies
        starts, lengths = self._index.starts[copy], self._index.lengths[copy]
        # A copy: what a tensor shares with a read-only file must not be written to.
        rows = [np.array(self._rows[starts[i] : starts[i] + lengths[i]]) for i in batch]
        dtype = getattr(torch, self._index.key.dtype)
        frames = [torch.from_numpy(row).view(dtype) for row in rows]
        return Hidden(
            nn.utils.rnn.pad_sequence(frames, batch_first=True),
            torch.tensor([lengths[i] for i in batch]),
        )


def expected_frames(base: Base, split: Split) -> list[int]:
    """Return about how many frames each utterance of ``split`` has after subsampling."""
    per_second = len(split.features([0])[0]) / split.durations[0]
    inputs = torch.tensor([round(s * per_second) for s in split.durations])
    frames: list[int] = base.output_lengths(inputs).tolist()
    return frames


def expected_bytes(base: Base, train: Split, dev: Split, copies: int) -> int:
    """Return the size of what is kept, before any of it is computed; speed copies even out."""
    of_train = sum(expected_frames(base, train)) * copies * _KEPT["bfloat16"].itemsize
    of_dev = sum(expected_frames(base, dev)) * _KEPT["float32"].itemsize
    return (of_train + of_dev) * base.d_model


def check_size(num_bytes: int, place: Path, limit_gb: float) -> None:
    """Refuse a cache that is larger than allowed, or than the disk has room for.

    Raises:
        UsageError: over the limit.
        MachineError: over what is free.
    """
    if num_bytes > limit_gb * 1e9:
        raise UsageError(
            f"the cached prefix would take {gigabytes(num_bytes)}; training.cache_gb allows "
            f"{limit_gb:g}",
            f"set training.cache_gb={num_bytes / 1e9 * 1.1:.2g}, or fewer training.cached_copies",
        )
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if num_bytes > free:
        raise MachineError(
            f"the cached prefix would take {gigabytes(num_bytes)}; {place} has "
            f"{gigabytes(free)} free",
            "free disk space, set training.cache_dir to another disk, or fewer "
            "training.cached_copies",
        )


def gigabytes(num_bytes: int) -> str:
    """Return a size on disk as a reader wants it."""
    return f"{num_bytes / 1e9:.2g} GB"


def build(
    folder: Path,
    key: PrefixKey,
    base: Base,
    cut: Prefix,
    split: Split,
    *,
    autocast: AbstractContextManager[None],
    on_progress: Progress | None = None,
) -> None:
    """Compute the frames of every copy of ``split`` and write ``folder``, whole or not at all.

    Raises:
        MachineError: the disk is full.
    """
    batches = plan_batches(split.durations, key.batch_s, one_length=False)
    count = len(split)
    dtype = getattr(torch, key.dtype)
    frames_file = FRAMES_FILES[key.dtype]
    starts = [[0] * count for _ in range(key.copies)]
    lengths = [[0] * count for _ in range(key.copies)]
    rows = 0
    with whole_folder(folder) as building, (building / frames_file).open("wb") as file, autocast:
        for copy in range(key.copies):
            done = 0
            for batch in batches:
                features = heard(base, split, batch, copy, key.spec_augment, key.seed)
                hidden = cut.compute(features)
                kept = hidden.frames.to(dtype).cpu()
                for row, index in enumerate(batch):
                    length = int(hidden.lengths[row])
                    file.write(kept[row, :length].contiguous().view(torch.uint8).numpy().tobytes())
                    starts[copy][index], lengths[copy][index] = rows, length
                    rows += length
                done += len(batch)
                if on_progress is not None:
                    stage = f"cache the frozen blocks ({key.split})"
                    on_progress(stage, copy * count + done, key.copies * count)
        index_record = PrefixIndex(key=key, d_model=base.d_model, starts=starts, lengths=lengths)
        write_json(building / INDEX_FILE, index_record)


def heard(
    base: Base, split: Split, batch: Sequence[int], copy: int, is_masked: bool, seed: int
) -> Features:
    """Return what the base hears of ``batch`` in one augmented copy."""
    rows = split.heard(batch, copy)
    if is_masked and rows[0].dim() == 2:
        rows = [_masked(row, seed, copy, i) for row, i in zip(rows, batch, strict=True)]
    return base.collate(rows)


def _masked(row: Tensor, seed: int, copy: int, index: int) -> Tensor:
    # By utterance, so that the masks do not depend on how the batches were cut.
    generator = torch.Generator().manual_seed((seed * 1_009 + copy) * 1_000_003 + index)
    return spec_augment(row[None], torch.tensor([len(row)]), generator)[0]


def cached_prefix(
    base: Base,
    adapter: Adapter | None,
    data: DataSet,
    train: Split,
    dev: Split,
    config: RunConfig,
    *,
    augment_digests: dict[str, str],
    precision: str,
    autocast: Callable[[], AbstractContextManager[None]],
    ranks: Ranks,
    note: Callable[[str], None],
    on_progress: Progress | None = None,
) -> CachedPrefix:
    """Return the cached prefix of a training, computed now where the disk has none.

    Args:
        base: with ``adapter`` active.
        adapter: what is trained; ``None`` where that is the whole model.
        data: whose ``train`` is learnt from.
        train: what is learnt from, augmented.
        dev: what is measured on.
        config: fully resolved.
        augment_digests: of the folders it names, as in ``formats.run.RunRecord``.
        precision: of the activations.
        autocast: makes the context in which a step computes.
        ranks: the processes that train together; the first writes, all read.
        note: told of the size before anything is written.
        on_progress: told how the computation goes.

    Raises:
        UsageError: nothing below what is trained stays the same, or a limit.
        MachineError: the disk has no room.
    """
    cut = find_cut(base, adapter)
    keys = make_keys(
        base_digest=base.identity.digest,
        data_digest=data.card.digest,
        train=train,
        dev=dev,
        cut=cut,
        precision=precision,
        config=config,
        augment_digests=augment_digests,
    )
    settings = config.training
    folders = [folder_of(key, data, settings) for key in keys]
    splits = (train, dev)
    if ranks.is_first:
        copies = f"{keys[0].copies} {'copy' if keys[0].copies == 1 else 'copies'}"
        what = f"the cached prefix ({cut.num_blocks} of {len(base.blocks)} blocks, {copies})"
        if all(folder.exists() for folder in folders):
            note(f"{what} in {folders[0]} is used again")
        else:
            num_bytes = expected_bytes(base, train, dev, keys[0].copies)
            check_size(num_bytes, folders[0].parent, settings.cache_gb)
            note(f"{what} takes {gigabytes(num_bytes)} in {folders[0]}, dev in {folders[1].name}")
        for key, folder, split in zip(keys, folders, splits, strict=True):
            if not folder.exists():
                build(folder, key, base, cut, split, autocast=autocast(), on_progress=on_progress)
    ranks.wait()
    of_train, of_dev = map(PrefixCache, folders, keys)
    return CachedPrefix(cut, of_train, of_dev)


def folder_of(key: PrefixKey, data: DataSet, settings: TrainingSettings) -> Path:
    """Return where the cache with ``key`` lies."""
    return place_of(data, settings) / key.digest.removeprefix("sha256:")[:24]


def place_of(data: DataSet, settings: TrainingSettings) -> Path:
    """Return the folder of all caches of a data set."""
    return data.folder / "prefix" if settings.cache_dir is None else Path(settings.cache_dir)


def find_cut(base: Base, adapter: Adapter | None) -> Prefix:
    """Return the modules below everything that ``adapter`` changes.

    Raises:
        UsageError: nothing below what is trained stays the same.
    """
    reason = "the method full trains every block"
    if adapter is not None:
        try:
            return Prefix(base, adapter)
        except NoPrefixError as error:
            reason = str(error)
    raise UsageError(
        f"training.cached_prefix is true, but nothing stays the same in each step: {reason}",
        "set training.cached_prefix=false",
    )
