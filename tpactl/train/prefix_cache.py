"""The frozen prefix of every training utterance, computed once and read from disk in each step.

Training then runs only the blocks from the lowest one that is trained. Augmentation has to happen
before the prefix, so each utterance has a number of augmented copies, which the epochs take in
turn.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

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
from tpactl.formats.prefix import FRAMES_FILE, INDEX_FILE, PrefixIndex, PrefixKey
from tpactl.formats.progress import Progress
from tpactl.formats.run import RunConfig, TrainingSettings
from tpactl.train.augment import spec_augment
from tpactl.train.examples import Split
from tpactl.train.ranks import Ranks
from tpactl.train.surroundings import is_asked_for

BATCH_S = 120.0
"""Seconds of audio computed at once, padding included."""


@dataclass(frozen=True)
class CachedPrefix:
    """What a step computes, and what it reads, where the lower half is cached."""

    cut: Prefix
    cache: PrefixCache

    def inputs(self, batch: Sequence[int], epoch: int) -> Features:
        """Return what enters the upper half, on the CPU, with the lengths after subsampling."""
        hidden = self.cache.read(batch, epoch)
        return Features(hidden.frames, hidden.lengths)


def augmented_copies(settings: TrainingSettings, augment: AugmentSettings) -> int:
    """Return how many copies of each utterance are kept.

    Args:
        settings: with every ``None`` decided.
        augment: likewise.

    Raises:
        UsageError: new augmentation in every step was asked for, which no cache can hold.
    """
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


def make_key(
    *,
    base_digest: str,
    data_digest: str,
    train: Split,
    cut: Prefix,
    precision: str,
    config: RunConfig,
    augment_digests: dict[str, str],
) -> PrefixKey:
    """Return what the frames of ``train`` depend on.

    Raises:
        UsageError: as ``augmented_copies``.
        InputError: audio is missing.
    """
    settings = config.training
    files = []
    for example in train.examples:
        try:
            state = example.path.stat()
        except OSError as error:
            raise InputError(
                f"{example.path}: cannot be read: {error.strerror or error}",
                "prepare the data set again",
            ) from error
        files.append([example.id, state.st_size, state.st_mtime_ns])
    return PrefixKey(
        base_digest=base_digest,
        data_digest=data_digest,
        audio_files=sha256_of(canonical_json(files)),
        num_blocks=cut.num_blocks,
        precision=precision,
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
        frames = folder / FRAMES_FILE
        rows = sum(map(sum, index.lengths))
        if index.key != key or frames.stat().st_size != rows * index.d_model * 2:
            raise InputError(
                f"{folder} is not the cached prefix of this training", "delete it and train again"
            )
        self._index = index
        self._rows = np.memmap(frames, dtype="<i2", mode="r", shape=(rows, index.d_model))

    def num_frames(self, batch: Sequence[int], epoch: int) -> list[int]:
        """Return the frames of each utterance of ``batch`` as ``epoch`` hears it."""
        lengths = self._index.lengths[epoch % self._index.key.copies]
        return [lengths[i] for i in batch]

    def read(self, batch: Sequence[int], epoch: int) -> Hidden:
        """Return the utterances of ``batch`` as ``epoch`` hears them, zero-padded, in bfloat16."""
        copy = epoch % self._index.key.copies
        starts, lengths = self._index.starts[copy], self._index.lengths[copy]
        # A copy: what a tensor shares with a read-only file must not be written to.
        rows = [np.array(self._rows[starts[i] : starts[i] + lengths[i]]) for i in batch]
        frames = [torch.from_numpy(row).view(torch.bfloat16) for row in rows]
        return Hidden(
            nn.utils.rnn.pad_sequence(frames, batch_first=True),
            torch.tensor([lengths[i] for i in batch]),
        )


def expected_bytes(base: Base, train: Split, copies: int) -> int:
    """Return the size of a cache before any of it is computed; speed copies even out."""
    per_second = len(train.features([0])[0]) / train.durations[0]
    inputs = torch.tensor([round(s * per_second) for s in train.durations])
    return int(base.output_lengths(inputs).sum()) * copies * base.d_model * 2


def check_size(num_bytes: int, place: Path, limit_gb: float) -> None:
    """Refuse a cache that is larger than allowed, or than the disk has room for.

    Raises:
        UsageError: over the limit.
        MachineError: over what is free.
    """
    if num_bytes > limit_gb * 1e9:
        raise UsageError(
            f"the cached prefix would take {_gigabytes(num_bytes)}; training.cache_gb allows "
            f"{limit_gb:g}",
            f"set training.cache_gb={num_bytes / 1e9 * 1.1:.2g}, or fewer training.cached_copies",
        )
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if num_bytes > free:
        raise MachineError(
            f"the cached prefix would take {_gigabytes(num_bytes)}; {place} has "
            f"{_gigabytes(free)} free",
            "free disk space, set training.cache_dir to another disk, or fewer "
            "training.cached_copies",
        )


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2g} GB"


def build(
    folder: Path,
    key: PrefixKey,
    base: Base,
    cut: Prefix,
    train: Split,
    *,
    autocast: AbstractContextManager[None],
    on_progress: Progress | None = None,
) -> None:
    """Compute the frames of every copy of ``train`` and write ``folder``, whole or not at all.

    Raises:
        MachineError: the disk is full.
    """
    batches = plan_batches(train.durations, BATCH_S, one_length=False)
    count = len(train)
    starts = [[0] * count for _ in range(key.copies)]
    lengths = [[0] * count for _ in range(key.copies)]
    rows = 0
    with whole_folder(folder) as building, (building / FRAMES_FILE).open("wb") as file, autocast:
        for copy in range(key.copies):
            done = 0
            for batch in batches:
                hidden = cut.compute(_heard(base, train, batch, key, copy))
                kept = hidden.frames.to(torch.bfloat16).cpu()
                for row, index in enumerate(batch):
                    length = int(hidden.lengths[row])
                    file.write(kept[row, :length].contiguous().view(torch.int16).numpy().tobytes())
                    starts[copy][index], lengths[copy][index] = rows, length
                    rows += length
                done += len(batch)
                if on_progress is not None:
                    on_progress("cache the frozen blocks", copy * count + done, key.copies * count)
        index_record = PrefixIndex(key=key, d_model=base.d_model, starts=starts, lengths=lengths)
        write_json(building / INDEX_FILE, index_record)


def _heard(base: Base, train: Split, batch: Sequence[int], key: PrefixKey, copy: int) -> Features:
    """Return what the base hears of ``batch`` in one augmented copy."""
    rows = train.heard(batch, copy)
    if key.spec_augment and rows[0].dim() == 2:
        rows = [_masked(row, key.seed, copy, i) for row, i in zip(rows, batch, strict=True)]
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
    cut = _cut(base, adapter)
    key = make_key(
        base_digest=base.identity.digest,
        data_digest=data.card.digest,
        train=train,
        cut=cut,
        precision=precision,
        config=config,
        augment_digests=augment_digests,
    )
    settings = config.training
    place = data.folder / "prefix" if settings.cache_dir is None else Path(settings.cache_dir)
    folder = place / key.digest.removeprefix("sha256:")[:24]
    copies = f"{key.copies} {'copy' if key.copies == 1 else 'copies'}"
    what = f"the cached prefix ({cut.num_blocks} of {len(base.blocks)} blocks, {copies})"
    if ranks.is_first and not folder.exists():
        num_bytes = expected_bytes(base, train, key.copies)
        check_size(num_bytes, place, settings.cache_gb)
        note(f"{what} takes {_gigabytes(num_bytes)} in {folder}")
        build(folder, key, base, cut, train, autocast=autocast(), on_progress=on_progress)
    elif ranks.is_first:
        note(f"{what} in {folder} is used again")
    ranks.wait()
    return CachedPrefix(cut, PrefixCache(folder, key))


def _cut(base: Base, adapter: Adapter | None) -> Prefix:
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
