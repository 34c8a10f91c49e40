"""Check that training computes what transformers computes; exit code 1 on a difference.

Run it before a long training. Compares, on a padded batch: features with
``ParakeetFeatureExtractor``, logits and their loss's gradient with ``ParakeetForCTC``, and a
written model directory's logits with the trained model's.

    python check.py
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from architecture import BLANK_ID, Shape, build_model, build_processor, write_model_directory
from features import LogMel
from network import TrainingForward, prepare_for_training
from pool import encoder_frames
from torch import Tensor
from transformers import AutoModelForCTC, AutoProcessor


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of ``expected``."""
    return float((found - expected).norm().detach() / expected.norm().detach())


@dataclass(frozen=True)
class Comparison:
    """How far apart two computations of the same thing are, relative to its norm."""

    name: str
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether they agree; NaN does not."""
        return self.difference < self.tolerance


def compare(shape: Shape) -> list[Comparison]:
    """Return the comparisons for an untrained network of ``shape``."""
    torch.manual_seed(0)
    lengths = torch.tensor([48_000, 31_234, 16_000, 20_801])
    waves = torch.randn(4, 48_000) * 0.1 * (torch.arange(48_000)[None] < lengths[:, None])
    processor = build_processor()
    inputs = processor(
        [wave[:length].numpy() for wave, length in zip(waves, lengths, strict=True)],
        sampling_rate=16_000,
    )
    features, mask, counts = LogMel(torch.device("cpu"))(waves, lengths)
    assert torch.equal(mask, inputs["attention_mask"].bool())
    differences = {"features": (relative_difference(features, inputs["input_features"]), 1e-4)}

    model = build_model(shape).eval()
    for module in model.modules():  # untrained averages would hide a fault in BatchNorm
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    reference = model(input_features=features, attention_mask=mask).logits
    valid = torch.arange(reference.shape[1])[None] < encoder_frames(counts)[:, None]
    labels = torch.randint(1, BLANK_ID, (4, 10))
    model(input_features=features, attention_mask=mask, labels=labels).loss.backward()
    reference_gradient = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    with tempfile.TemporaryDirectory() as folder:
        write_model_directory(model, Path(folder))
        written = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()
        loaded_inputs = AutoProcessor.from_pretrained(folder)(
            waves[1, :31_234].numpy(), sampling_rate=16_000
        )
    logits = written(input_features=features, attention_mask=mask).logits
    differences["logits of the written directory"] = (
        relative_difference(logits[valid], reference[valid]),
        5e-3,
    )
    differences["features of the written directory"] = (
        relative_difference(loaded_inputs["input_features"][0, :195], features[1, :195]),
        1e-4,
    )

    prepare_for_training(model)
    logits = TrainingForward(model).eval()(features, mask, counts)
    differences["logits"] = (relative_difference(logits[valid], reference[valid]), 1e-4)
    losses = torch.nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        labels,
        encoder_frames(counts),
        torch.full((4,), 10),
        blank=BLANK_ID,
        reduction="mean",
    )
    losses.backward()
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    gradient = torch.cat([model.get_parameter(name).grad.flatten() for name in trained])
    expected = torch.cat([reference_gradient[name].flatten() for name in trained])
    differences["gradient"] = (relative_difference(gradient, expected), 1e-4)

    return [Comparison(name, *values) for name, values in differences.items()]


def main() -> int:
    """Print each comparison; return 1 if one is out of tolerance."""
    comparisons = compare(Shape())
    for found in comparisons:
        verdict = "ok  " if found.holds else "FAIL"
        print(f"{verdict} {found.name}: {found.difference:.1e} (at most {found.tolerance:.0e})")
    return int(not all(found.holds for found in comparisons))


if __name__ == "__main__":
    sys.exit(main())
