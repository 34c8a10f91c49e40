"""Trains many configurations on one base and data set, each only as far as it is asked to.

The base and the features are loaded once. A trial is an ordinary training that is paused at a
measurement and resumed from its checkpoint, so it ends with the weights that ``train`` would have
given it. Reads a prepared data set; writes run folders, unfinished ones among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from tpactl.adapters import settings as adapter_settings
from tpactl.adapters.methods import FULL
from tpactl.adapters.prefix import NoPrefixError, Prefix
from tpactl.bases.load import load_base
from tpactl.errors import MachineError, UsageError
from tpactl.formats.dataset import DataSet
from tpactl.formats.progress import Progress
from tpactl.formats.run import START, RunConfig, dotted, unfinished
from tpactl.train import defaults
from tpactl.train.dev import Score
from tpactl.train.events import OnEvent
from tpactl.train.history import read as read_history
from tpactl.train.loop import DivergedError
from tpactl.train.prefix_cache import augmented_copies, check_size, expected_bytes
from tpactl.train.ranks import join
from tpactl.train.reading import check_data, read_data
from tpactl.train.schedule import plan_steps
from tpactl.train.surroundings import is_asked_for
from tpactl.train.train import Paused, train
from tpactl.train.trained import begin

COPIES = 4
"""Augmented copies of each utterance in a cached prefix, where the run file says nothing."""


@dataclass(frozen=True)
class Reached:
    """How far a trial has come."""

    measured: list[tuple[int, Score]]
    """The number of each measurement, 0 for the untrained base, and what was measured."""
    progress: float
    """0 to 1; patience may end a training before 1."""
    seconds: float
    whole_s: float | None
    """Seconds from its first step to its end at its pace so far; ``None`` before any step."""
    is_finished: bool
    trained_parameters: int

    def best_until(self, measurement: int) -> Score | None:
        """Return the best score up to a measurement, ``None`` where it was not reached yet."""
        scores: list[Score] = []
        for number, score in self.measured:
            scores.append(score)
            if number >= measurement:
                break
        else:
            if not self.is_finished:
                return None
        return min(scores, key=lambda score: score.rank)


class FailedTrialError(Exception):
    """This configuration cannot be trained; another one may be."""


class Bench:
    """A base and a data set on which trials are trained.

    Args:
        data: a prepared data set; its dev chooses the steps.
        config: what all trials share: base, device, memory for features.
        on_progress: told how reading the audio goes.

    Raises:
        UsageError: the method has nothing to search, a time limit of training, or several
            processes.
        TpactlError: as ``train`` raises it for base and data.
    """

    def __init__(self, data: Path, config: RunConfig, on_progress: Progress | None = None) -> None:
        if config.method == FULL:
            raise UsageError(
                f"method {FULL} has no adapter whose shape could be searched",
                "leave --set method out, or choose the method of an adapter",
            )
        self._data = data
        dataset = DataSet(data)
        check_data(dataset)
        ranks = join(config.device)
        if ranks.count > 1:
            raise UsageError(
                f"a search runs in one process, not in {ranks.count}",
                "start it without torchrun or accelerate launch",
            )
        if config.training.max_minutes is not None:
            raise UsageError(
                "training.max_minutes would make trials end where the machine is slow",
                "leave it out, and limit the search itself with --budget",
            )
        base = load_base(config.base, device=ranks.device)
        limit_bytes = config.training.features_mb * 2**20
        self._material = read_data(base, dataset, limit_bytes, on_progress)

    @property
    def base_digest(self) -> str:
        """Content identity of the base."""
        return self._material.base.identity.digest

    def decided(self, config: RunConfig) -> dict[str, Any]:
        """Return every setting of ``config`` under its dotted key, with its default where open.

        ``training.batch_s: auto`` counts as its default.
        """
        if config.training.batch_s == "auto":
            training = msgspec.structs.replace(config.training, batch_s=None)
            config = msgspec.structs.replace(config, training=training)
        hours = sum(self._material.train.durations) / 3600
        parameters = self._material.base.num_parameters
        return dotted(defaults.resolve(config, hours=hours, base_parameters=parameters))

    def on_cached_prefix(self, config: RunConfig, cache_dir: Path) -> RunConfig:
        """Return ``config`` with its frozen lower blocks cached.

        Where it augments, ``COPIES`` copies of each utterance are kept, unless it names a number.
        """
        decided = self.decided(config)
        augments = (
            decided["training.spec_augment"]
            or decided["training.speed_perturbation"]
            or is_asked_for(config.augment)
        )
        copies = config.training.cached_copies or (COPIES if augments else None)
        training = msgspec.structs.replace(
            config.training, cached_prefix=True, cached_copies=copies, cache_dir=str(cache_dir)
        )
        return msgspec.structs.replace(config, training=training)

    def is_cacheable(self, cached: RunConfig) -> bool:
        """Return whether what ``on_cached_prefix`` returned can be, and saves more than it costs.

        That is: at least one block lies below, and every copy is heard twice or more.
        """
        base, settings = self._material.base, cached.training
        assert settings.cache_dir is not None
        try:
            copies = augmented_copies(settings, cached.augment)
            if self.decided(cached)["training.max_epochs"] < 2 * copies:
                return False
            material = self._material
            num_bytes = expected_bytes(base, material.train, material.dev, copies)
            check_size(num_bytes, Path(settings.cache_dir), settings.cache_gb)
            trained = begin(base, adapter_settings.resolve(cached))
        except (UsageError, MachineError):
            return False
        try:
            assert trained.adapter is not None
            return Prefix(base, trained.adapter).num_blocks > 0
        except NoPrefixError:
            return False
        finally:
            trained.release()

    def train(
        self,
        config: RunConfig,
        run: Path,
        *,
        measurements: int,
        is_time_up: Callable[[], bool],
        on_event: OnEvent | None = None,
        on_progress: Progress | None = None,
    ) -> Reached:
        """Train ``config``, or go on with it, and return how far it came.

        Args:
            config: of the trial.
            run: its run folder; what an earlier call left there is continued.
            measurements: after so many of dev WER it pauses, if it is not over before.
            is_time_up: asked at each checkpoint; it pauses there as well.
            on_event: told of every training event.
            on_progress: told how a cached prefix is computed.

        Raises:
            FailedTrialError: the loss exploded, memory ran out, or the base does not take it.
            TpactlError: of anything that would meet other trials too.
        """
        before = self.look(run)
        if before is not None and before.best_until(measurements) is not None:
            return before
        evaluations = self.decided(config)["training.evaluations"]

        def pause(progress: float) -> bool:
            return math.floor(progress * evaluations + 1e-9) >= measurements or is_time_up()

        try:
            train(
                self._data,
                config,
                run,
                resume=True,
                material=self._material,
                pause=pause,
                on_event=on_event,
                on_progress=on_progress,
            )
        except Paused:
            pass
        except (DivergedError, UsageError) as error:
            raise FailedTrialError(error.problem) from error
        except MachineError as error:
            # A full disk would meet every trial.
            if isinstance(error.__cause__, RuntimeError | MemoryError):
                raise FailedTrialError(error.problem) from error
            raise
        finally:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        reached = self.look(run)
        assert reached is not None
        return reached

    def look(self, run: Path) -> Reached | None:
        """Return how far the trial at ``run`` has come, ``None`` where it has not begun.

        Raises:
            InputError: its record cannot be read.
        """
        place = run if (run / "run.json").is_file() else unfinished(run)
        if place is not run and not (place / START).is_file():
            return None
        history = read_history(place)
        settings = history.config.training
        course, _ = plan_steps(self._material.train.durations, settings)
        assert settings.evaluations is not None
        measured: list[tuple[int, Score]] = []
        for event in history.measurements:
            assert event.dev_wer is not None
            assert event.dev_cer is not None
            number = math.floor(event.step / len(course) * settings.evaluations + 1e-9)
            measured.append((number, Score(event.dev_wer, event.dev_cer)))
        shown = history.summary()
        progress = shown["step"] / len(course)
        # A cached prefix is written before the first measurement.
        begun_s = history.measurements[0].time_s if measured else 0.0
        return Reached(
            measured=measured,
            progress=progress,
            seconds=shown["seconds"],
            whole_s=(shown["seconds"] - begun_s) / progress if progress else None,
            is_finished=history.is_finished,
            trained_parameters=shown["trained_parameters"],
        )
