"""The training loop: steps, measurements of dev WER, the best state kept, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from tpactl.bases.base import Base, Features
from tpactl.errors import InputError
from tpactl.formats.run import Event, TrainingSettings
from tpactl.train.augment import draw_speeds, spec_augment
from tpactl.train.batches import Batch, Course
from tpactl.train.cost import Meter
from tpactl.train.dev import Score, measure
from tpactl.train.examples import Split
from tpactl.train.schedule import Schedule
from tpactl.train.trained import State, Trained

BETAS = (0.9, 0.98)
"""Of AdamW; the second as usual for Conformers (Gulati et al. 2020)."""

READ_EVERY = {"cpu": 1, "cuda": 10, "mps": 10}
"""Steps between reading losses from the device: each reading waits until it has caught up."""


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


@dataclass
class _Best:
    """The best state so far; the untrained one counts as step 0."""

    step: int
    score: Score
    state: State
    since: int = 0
    """Measurements since."""

    def offer(self, step: int, score: Score, trained: Trained) -> bool:
        """Keep ``trained`` where ``score`` is better, and return whether it was."""
        if score.rank < self.score.rank:
            self.step, self.score, self.state, self.since = step, score, trained.state(), 0
            return True
        self.since += 1
        return False


@dataclass
class Loop:
    """One training, from the untrained state to the best one found.

    Args:
        base: with the trained part attached.
        trained: what is trained.
        train: the examples to learn from.
        dev: the examples that choose the best step.
        settings: fully resolved.
        course: the batches.
        schedule: learning rate and measurements.
        accelerator: device and precision.
        meter: the clock.
        emit: told of every event.
    """

    base: Base
    trained: Trained
    train: Split
    dev: Split
    settings: TrainingSettings
    course: Course
    schedule: Schedule
    accelerator: Accelerator
    meter: Meter
    emit: Callable[[Event], None]
    _unread: list[tuple[Event, Tensor, Tensor]] = field(default_factory=list)
    _audio_s: float = 0.0

    def run(self) -> Fit:
        """Train, put the best state into place, and return what came of it.

        Raises:
            InputError: the loss became NaN or infinite before any step was better than the base.
        """
        untrained = self._measure()
        best = _Best(0, untrained, self.trained.state())
        self.emit(self._event("start", 0, dev_wer=untrained.wer, dev_cer=untrained.cer))
        optimizer = self._optimizer()
        step, stopped_by, before = 0, "", 0.0
        while not stopped_by:
            self._step(step, optimizer)
            step += 1
            after = self.schedule.progress(step, self.meter.seconds)
            due = self.schedule.is_evaluation(before, after)
            before = after
            if (due or len(self._unread) >= READ_EVERY[self.base.device.type]) and not self._read():
                stopped_by = "diverged"
            elif due:
                score = self._measure()
                better = best.offer(step, score, self.trained)
                self.emit(
                    self._event("dev", step, dev_wer=score.wer, dev_cer=score.cer, best=better)
                )
                if best.since >= self.settings.patience:
                    stopped_by = "patience"
            if after >= 1 and not stopped_by:
                stopped_by = self._end(step)
        self.trained.restore(best.state)
        if stopped_by == "diverged":
            self._explain_divergence(step, best)
        self.emit(self._event("end", step, message=stopped_by))
        return Fit(
            best_step=best.step,
            best=best.score,
            untrained=untrained,
            stopped_by=stopped_by,
            steps=step,
            epochs=self.course.epochs_after(step),
            audio_s=self._audio_s,
        )

    def _step(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Make one update; its event waits in ``_unread`` until its loss is read."""
        epoch, batch = self.course[step]
        factor = self.schedule.factor(self.schedule.progress(step, self.meter.seconds))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        features = self._features(step, epoch, batch)
        labels, label_lengths = self.train.labels(batch)
        self.trained.learning(True)
        with self.accelerator.autocast():
            logits, lengths = self.base.logits(features)
        loss = ctc_loss(logits, lengths, labels, label_lengths, self.base.blank_id)
        self.accelerator.backward(loss)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        audio_s = sum(self.train.examples[i].duration_s for i in batch)
        self._audio_s += audio_s
        rate = optimizer.param_groups[0]["lr"]
        event = self._event("step", step + 1, learning_rate=rate, audio_s=round(audio_s, 3))
        self._unread.append((event, loss.detach(), norm.detach()))

    def _features(self, step: int, epoch: int, batch: Batch) -> Features:
        speeds = None
        if self.settings.speed_perturbation:
            drawn = draw_speeds(len(self.train), seed=self.settings.seed, epoch=epoch)
            speeds = [drawn[i] for i in batch]
        features = self.base.collate(self.train.features(batch, speeds))
        if self.settings.spec_augment and features.inputs.dim() == 3:
            # Seeded by the step, so that the masks do not depend on what was drawn before.
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
            masked = spec_augment(features.inputs, features.lengths, generator)
            features = Features(masked, features.lengths)
        if self.base.device.type == "cuda":
            features = Features(features.inputs.pin_memory(), features.lengths)
        return features

    def _optimizer(self) -> torch.optim.Optimizer:
        rates = [
            (self.trained.body(), self.settings.learning_rate),
            (self.trained.head(), self.settings.head_learning_rate),
        ]
        groups = [
            {"params": parameters, "lr": rate, "peak": rate}
            for parameters, rate in rates
            if parameters
        ]
        return torch.optim.AdamW(
            groups, betas=BETAS, weight_decay=self.settings.weight_decay, fused=True
        )

    def _measure(self) -> Score:
        self.trained.learning(False)
        with self.accelerator.autocast():
            return measure(self.base, self.dev, batch_s=2 * (self.settings.batch_s or 60.0))

    def _read(self) -> bool:
        """Emit the waiting steps; return whether all their losses are finite."""
        losses = torch.stack([loss for _, loss, _ in self._unread]).tolist()
        norms = torch.stack([norm for _, _, norm in self._unread]).tolist()
        waiting, self._unread = self._unread, []
        for (event, _, _), loss, norm in zip(waiting, losses, norms, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                return False
            self.emit(msgspec.structs.replace(event, loss=loss, gradient_norm=norm))
        return True

    def _end(self, step: int) -> str:
        if step < len(self.course):
            return "minutes"
        return "steps" if self.settings.max_steps == step else "epochs"

    def _explain_divergence(self, step: int, best: _Best) -> None:
        lower = (self.settings.learning_rate or 0) / 4
        fix = f"train again with --set training.learning_rate={lower:g}"
        problem = f"the loss became NaN or infinite at step {step}"
        if best.step == 0:
            raise InputError(f"{problem}, and no step before was better than the base", fix)
        self.emit(self._event("note", step, message=f"{problem}; step {best.step} is kept; {fix}"))

    def _event(self, kind: str, step: int, **figures: float | str | bool | None) -> Event:
        place = {
            "kind": kind,
            "time_s": round(self.meter.seconds, 3),
            "step": step,
            "epoch": round(self.course.epochs_after(step), 4),
        }
        return msgspec.convert({**place, **figures}, Event)


def ctc_loss(
    logits: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor, blank_id: int
) -> Tensor:
    """Return the batch's CTC loss divided by its number of labels.

    Every label weighs the same, however the batch was cut; an utterance that CTC cannot align adds
    nothing.

    Args:
        logits: (batch, frames, vocabulary).
        lengths: (batch,) valid frames, on the CPU.
        labels: (sum of label_lengths,) on the CPU.
        label_lengths: (batch,) on the CPU.
        blank_id: the CTC blank.
    """
    log_probabilities = F.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    total = F.ctc_loss(
        log_probabilities,
        labels.to(logits.device, non_blocking=True),
        lengths,
        label_lengths,
        blank=blank_id,
        reduction="sum",
        zero_infinity=True,
    )
    return total / int(label_lengths.sum())
