"""The table of methods and shapes that every shared test of this folder runs over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tpactl.bases.decoder import decoder_of
from tpactl.formats.adapter import BitFitSettings, IA3Settings, LoRASettings, TPASettings
from tpactl.train import loss


@dataclass(frozen=True)
class Case:
    """A method with settings, and what holds for it."""

    method: str
    settings: Any = None
    decoder: Any = "head"
    silent: bool = True
    """Untrained, it leaves the logits bit-identical."""
    mergeable: bool = True

    def __str__(self):
        settings = self.settings
        changed = [
            f"{field}={getattr(settings, field)}"
            for field in (settings.__struct_fields__ if settings is not None else ())
            if getattr(settings, field) != getattr(type(settings)(), field)
        ]
        decoder = [] if self.decoder == "head" else [f"decoder={self.decoder}"]
        return "-".join([self.method, *changed, *decoder]).replace(" ", "")


def tpa(**shape: Any) -> TPASettings:
    return TPASettings(**{"bottleneck_dim": 4, **shape})


CASES = [
    Case("tpa", tpa()),
    Case("tpa", tpa(bottleneck_dim=3, scale="learned", blocks="upper-half", dropout=0.2)),
    Case("tpa", tpa(activation="gelu", blocks=[0, 2], initialisation="kaiming"), mergeable=False),
    Case("tpa", tpa(input="residual", activation="relu", scale=4.0), mergeable=False),
    Case("tpa", tpa(initialisation="praxis"), silent=False),
    Case("tpa", tpa(sites=["ffn2"]), decoder="none"),
    Case(
        "tpa",
        tpa(sites=["block", "conv", "attention", "ffn1", "ffn2"], input="residual"),
        mergeable=False,
    ),
    Case("tpa", tpa(sites=["block", "conv", "attention", "ffn1", "ffn2"]), mergeable=False),
    Case("houlsby", tpa(), mergeable=False),
    Case("houlsby", tpa(sites=["conv", "block"]), mergeable=False),
    Case("houlsby", tpa(sites=["block"], input="residual"), mergeable=False),
    Case("pfeiffer", tpa(), mergeable=False),
    Case("parallel", tpa(), mergeable=False),
    Case("lora", LoRASettings(r=3)),
    Case(
        "lora",
        LoRASettings(
            r=2, alpha=3.0, dropout=0.2, blocks=[1], sites=["conv.in", "conv.out", "attention.q"]
        ),
        decoder="none",
    ),
    Case("dora", LoRASettings(r=3)),
    Case("dora", LoRASettings(r=2, sites=["ffn2.out", "conv.in"], dropout=0.2)),
    Case("ia3"),
    Case("ia3", IA3Settings(sites=["ffn1.in", "attention.o"], blocks="upper-half")),
    Case("bitfit"),
    Case("bitfit", BitFitSettings(blocks=[2], front=False), decoder="none"),
    Case("head"),
]


def disturb(adapter, seed=0):
    """Give the adapter other weights, as training would, and end its training."""
    adapter.eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def logits(base, features):
    with torch.inference_mode():
        return base.decoder.probe(base.logits(features)[0]).clone()


@torch.inference_mode()
def model_logits(model, features):
    """The logits of a model by itself, without tpactl's hooks."""
    mask = torch.arange(features.inputs.shape[1])[None] < features.lengths[:, None]
    decoder = decoder_of(model)
    return decoder.probe(decoder.frames(features.inputs, mask))


def loss_of(base, features):
    out, lengths = base.logits(features)
    num_labels = torch.tensor([3] * len(lengths))
    return loss.loss_of(base)(out, lengths, torch.tensor([3, 4, 5] * len(lengths)), num_labels, 3)


def steps(base, features, adapter, optimiser, count, seed):
    """Make ``count`` updates, with dropout drawn from ``seed``."""
    adapter.train()
    torch.manual_seed(seed)
    for _ in range(count):
        optimiser.zero_grad()
        loss_of(base, features).backward()
        optimiser.step()
    adapter.eval()
