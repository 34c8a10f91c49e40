"""The training loop: steps, measurements of dev WER, the best state kept, and when it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import torch
from accelerate import Accelerator
from torch import Tensor

from tpactl.bases.base import Base, Features
from tpactl.errors import InputError, MachineError
from tpactl.formats.run import Event, TrainingSettings
from tpactl.train.ahead import STEPS_AHEAD, Ahead
from tpactl.train.augment import spec_augment
from tpactl.train.batches import Batch, Course, shares
from tpactl.train.checkpoint import Best, Saved, Standing, restore_generators, restore_optimizer
from tpactl.train.cost import Meter
from tpactl.train.dev import Score, measure, measuring_batch_s
from tpactl.train.engine import Engine
from tpactl.train.examples import Split
from tpactl.train.figures import ComingFigures
from tpactl.train.loss import loss_of
from tpactl.train.memory import MemoryUse, is_out_of_memory, what_it_said
from tpactl.train.optimizer import adamw
from tpactl.train.prefix_cache import CachedPrefix
from tpactl.train.ranks import Ranks
from tpactl.train.schedule import Schedule
from tpactl.train.trained import State, Trained

EXPLODED = 100.0
"""Times the first loss: no training comes back from there."""


class DivergedError(InputError):
    """The loss exploded before anything was won; the same settings would do it again."""


@dataclass(frozen=True)
class Fit:
    """What came of a training; the trained parameters are those of the best step."""

    best_step: int
    best: Score
    untrained: Score
    stopped_by: str
    steps: int
    epochs: float
    audio_s: float
    """Seconds of speech seen, padding not counted."""


@dataclass(frozen=True)
class Rehearsed:
    """Seconds that steps and one measurement took."""

    steps: list[float]
    dev: float


@dataclass
class Loop:
    """One training, from the untrained state, or a saved one, to the best one found.

    Args:
        base: with the trained part attached.
        trained: what is trained.
        train: the examples to learn from.
        dev: the examples that choose the best step.
        settings: fully resolved.
        course: the batches.
        schedule: learning rate and measurements.
        accelerator: device and precision.
        engine: computes gradients.
        ranks: the processes that share each batch.
        meter: the clock.
        emit: told of every event.
        save: writes a checkpoint.
        cached: the frozen blocks' outputs, where they are not computed in each step.
    """

    base: Base
    trained: Trained
    train: Split
    dev: Split
    settings: TrainingSettings
    course: Course
    schedule: Schedule
    accelerator: Accelerator
    engine: Engine
    ranks: Ranks
    meter: Meter
    emit: Callable[[Event], None]
    save: Callable[[Standing, State, torch.optim.Optimizer], None]
    cached: CachedPrefix | None = None

    def __post_init__(self) -> None:
        self._memory = MemoryUse(self.ranks.device)
        self._seconds = self.meter.seconds
        self._saved_at = self._seconds
        self._exploded = ""
        self._figures = ComingFigures(self.ranks, self.base.device.type)
        self._loss_of_frames = loss_of(self.base)
        # A CPU that computes has no time to read meanwhile.
        depth = 0 if self.base.device.type == "cpu" else STEPS_AHEAD
        self._ahead = Ahead(self._read_inputs, len(self.course), depth)

    def run(self, saved: Saved | None = None) -> Fit:
        """Train, put the best state into place, and return what came of it.

        Args:
            saved: where to go on; from the untrained state without it.

        Raises:
            DivergedError: the loss exploded before any step was better than the base.
            MachineError: memory ran out.
            InputError: audio cannot be read any more.
        """
        try:
            return self._run(saved)
        finally:
            self._ahead.close()

    def _run(self, saved: Saved | None) -> Fit:
        optimizer = adamw(self.trained, self.settings)
        standing = self._begin() if saved is None else self._resume(saved, optimizer)
        while not (stopped_by := self._reason_to_stop(standing)):
            self._step(standing, optimizer)
            standing.step += 1
            self._read_clock()
            before = standing.progress
            standing.progress = self.schedule.progress(standing.step, self._seconds)
            due = self.schedule.is_evaluation(before, standing.progress)
            if not (due or self._figures.is_due):
                continue
            saves = due or self._is_time_to_save()
            if not self._read(standing, everything=saves):
                stopped_by = "diverged"
                break
            if due:
                self._evaluate(standing, optimizer)
            elif saves:
                self._save(standing, self.trained.state(), optimizer)
        self.trained.restore(standing.best.state)
        if stopped_by == "diverged":
            self._explain_divergence(standing)
        self.emit(self._event("end", standing.step, message=stopped_by))
        return Fit(
            best_step=standing.best.step,
            best=standing.best.score,
            untrained=standing.untrained,
            stopped_by=stopped_by,
            steps=standing.step,
            epochs=self.course.epochs_after(standing.step),
            audio_s=standing.audio_s,
        )

    def rehearse(self, steps: Sequence[int]) -> Rehearsed:
        """Make the updates of ``steps`` between two measurements, and a checkpoint; return seconds.

        The trained parameters are put back afterwards.
        """
        before = self.trained.state()
        # As every training begins; what it leaves reserved counts beside the first steps.
        self._measure()
        score = Score(1.0, 1.0)
        standing = Standing(untrained=score, best=Best(0, score, before))
        optimizer = adamw(self.trained, self.settings)
        taken: list[float] = []
        for standing.step in steps:
            started = time.perf_counter()
            self._step(standing, optimizer)
            self._read(standing, everything=True)
            taken.append(time.perf_counter() - started)
        started = time.perf_counter()
        self._measure()
        measuring = time.perf_counter() - started
        self.save(standing, self.trained.state(), optimizer)
        self.trained.restore(before)
        self._ahead.close()
        return Rehearsed(taken, measuring)

    def read_ahead(self, step: int) -> int:
        """Read what ``step`` needs, so that no timing of it waits; return how many numbers."""
        return self._read_inputs(step).inputs.numel()

    def _begin(self) -> Standing:
        untrained = self._measure()
        self.emit(self._event("start", 0, dev_wer=untrained.wer, dev_cer=untrained.cer))
        return Standing(untrained, Best(0, untrained, self.trained.state()))

    def _resume(self, saved: Saved, optimizer: torch.optim.Optimizer) -> Standing:
        self.trained.restore(saved.trained)
        restore_optimizer(optimizer, saved.optimizer)
        restore_generators(saved.generators)
        standing = saved.standing
        self.emit(self._event("note", standing.step, message=f"resumed at step {standing.step}"))
        return standing

    def _reason_to_stop(self, standing: Standing) -> str:
        """Return why the training is over, nothing while it is not."""
        patience = self.settings.patience
        if patience is not None and standing.step and standing.best.since >= patience:
            return "patience"
        if standing.progress < 1:
            return ""
        if standing.step < len(self.course):
            return "minutes"
        return "steps" if self.settings.max_steps == standing.step else "epochs"

    def _evaluate(self, standing: Standing, optimizer: torch.optim.Optimizer) -> None:
        """Measure dev WER, keep the state where it is better, and save."""
        score, state = self._measure(), self.trained.state()
        better = standing.best.offer(standing.step, score, state)
        self.emit(
            self._event("dev", standing.step, dev_wer=score.wer, dev_cer=score.cer, best=better)
        )
        self._save(standing, state, optimizer)

    def _save(self, standing: Standing, state: State, optimizer: torch.optim.Optimizer) -> None:
        self.save(standing, state, optimizer)
        self._saved_at = self._seconds

    def _step(self, standing: Standing, optimizer: torch.optim.Optimizer) -> None:
        """Make one update; its event waits for its loss."""
        step = standing.step
        _, batch = self.course[step]
        factor = self.schedule.factor(self.schedule.progress(step, self._seconds))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        # Dropout follows the step and the process alone, so that a resumed run draws the same.
        torch.manual_seed((self.settings.seed * 1_000_003 + step) * 1_009 + self.ranks.index)
        self.trained.learning(True)
        loss = self._gradients(step, batch)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.ranks.add_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=not self.engine.keeps_gradients)
        audio_s = sum(self.train.examples[i].duration_s for i in batch)
        standing.audio_s += audio_s
        rate = optimizer.param_groups[0]["lr"]
        event = self._event("step", step + 1, learning_rate=rate, audio_s=round(audio_s, 3))
        self._figures.add(event, loss, norm.detach())

    def _gradients(self, step: int, batch: Batch) -> Tensor:
        """Add this process's share of the batch's gradients, and return its share of the loss."""
        inputs = self._ahead.get(step)
        num_labels = sum(len(self.train.examples[i].labels) for i in batch)
        parts = shares(len(batch), self.ranks.count * self.settings.accumulate)
        total = torch.zeros((), device=self.base.device)
        for rows in parts[self.ranks.index :: self.ranks.count]:
            if not rows:
                continue
            padded_s = len(rows) * max(self.train.examples[i].duration_s for i in batch)
            part = inputs if len(parts) == 1 else _rows(inputs, rows)
            try:
                loss_of = partial(self._loss, [batch[row] for row in rows], num_labels)
                loss = self.engine.add_gradients(part, loss_of)
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise self._out_of_memory(error, padded_s, len(batch)) from error
                raise
            self._memory.note(padded_s)
            total += loss
        return total

    def _read_inputs(self, step: int) -> Features:
        """Return what the model reads in ``step``, augmented, on the CPU."""
        inputs = self._inputs(step)
        if self.base.device.type == "cuda":
            return Features(inputs.inputs.pin_memory(), inputs.lengths)
        return inputs

    def _inputs(self, step: int) -> Features:
        epoch, batch = self.course[step]
        if self.cached is not None:
            return self.cached.inputs(batch, epoch)
        features = self.base.collate(self.train.heard(batch, epoch))
        if self.settings.spec_augment and features.inputs.dim() == 3:
            # Seeded by the step, so that the masks do not depend on what was drawn before.
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
            masked = spec_augment(features.inputs, features.lengths, generator)
            features = Features(masked, features.lengths)
        return features

    def _loss(self, batch: Batch, num_labels: int, logits: Tensor, lengths: Tensor) -> Tensor:
        """Return the loss of ``batch``, divided by the ``num_labels`` of the whole update."""
        labels, label_lengths = self.train.labels(batch)
        with self.accelerator.autocast():
            return self._loss_of_frames(logits, lengths, labels, label_lengths, num_labels)

    def _measure(self) -> Score:
        self.trained.learning(False)
        with self.accelerator.autocast():
            return measure(
                self.base,
                self.dev,
                batch_s=measuring_batch_s(self.settings),
                ranks=self.ranks,
                logits_of=None if self.cached is None else self.cached.dev_logits,
            )

    def _read_clock(self) -> None:
        """Look at the clock; of several processes, all go by the first one's."""
        seconds = self.meter.seconds
        is_limited = self.schedule.max_seconds is not None or self._figures.is_due
        self._seconds = self.ranks.agree(seconds) if is_limited else seconds

    def _is_time_to_save(self) -> bool:
        # Only the first process writes, so the others need not agree.
        return self._seconds - self._saved_at >= 60 * self.settings.checkpoint_minutes

    def _read(self, standing: Standing, *, everything: bool) -> bool:
        """Emit the steps whose losses have come; return whether none of them exploded."""
        for event, loss, norm in self._figures.read(everything=everything):
            if standing.first_loss is None:
                standing.first_loss = loss
            if not math.isfinite(loss) or not math.isfinite(norm):
                self._exploded = f"the loss became NaN or infinite at step {event.step}"
            elif loss > EXPLODED * max(standing.first_loss, 1.0):
                self._exploded = (
                    f"the loss exploded at step {event.step}: "
                    f"from {standing.first_loss:.3g} to {loss:.3g} a label"
                )
            if self._exploded:
                return False
            self.emit(msgspec.structs.replace(event, loss=loss, gradient_norm=norm))
        return True

    def _explain_divergence(self, standing: Standing) -> None:
        lower = (self.settings.learning_rate or 0) / 4
        fix = f"train again with --set training.learning_rate={lower:g}"
        best = standing.best.step
        if best == 0:
            raise DivergedError(
                f"{self._exploded}, and no step before was better than the base", fix
            )
        message = f"{self._exploded}; step {best} is kept; {fix}"
        self.emit(self._event("note", standing.step, message=message))

    def _out_of_memory(self, error: BaseException, padded_s: float, size: int) -> MachineError:
        said = what_it_said(error)
        problem = f"{self.ranks.device} ran out of memory in a pass of {padded_s:.0f} s: {said}"
        parts = self.settings.accumulate * self._memory.parts_that_fit(padded_s, 1)
        if parts <= size:
            each = padded_s * self.settings.accumulate / parts
            fix = (
                f"add --set training.accumulate={parts}: the same batches in parts of {each:.3g} s"
            )
        elif not self.settings.activation_checkpointing:
            fix = "add --set training.activation_checkpointing=true"
        else:
            fix = "use a larger device, or leave out the longest utterances"
        return MachineError(problem, fix)

    def _event(self, kind: str, step: int, **figures: float | str | bool | None) -> Event:
        place = {
            "kind": kind,
            "time_s": round(self.meter.seconds, 3),
            "step": step,
            "epoch": round(self.course.epochs_after(step), 4),
        }
        return msgspec.convert({**place, **figures}, Event)


def _rows(inputs: Features, rows: Batch) -> Features:
    chosen = torch.tensor(rows)
    return Features(inputs.inputs[chosen], inputs.lengths[chosen])
