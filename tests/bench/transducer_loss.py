"""A TDT's loss and its gradients, ours beside transformers', at the sizes of Parakeet TDT 0.6B.

    python -m tests.bench.transducer_loss [--batch 2] [--frames 125] [--labels 40]

Prediction and joint network have their real sizes (640, 8193 pieces, durations 0 to 4) and random
weights. Each way computes in a process of its own, so that its peak memory is its own: resident,
above what the process held before.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from tests.models import quiet
from tpactl.bases.resident import forget_resident_peak, resident_peak_bytes
from tpactl.bases.transducer import Transducer
from tpactl.train.loss import TransducerLoss

WAYS = ("tpactl", "transformers")


def model() -> torch.nn.Module:
    """Return a TDT with the networks of Parakeet TDT 0.6B and next to no encoder."""
    from transformers import ParakeetEncoderConfig, ParakeetForTDT, ParakeetTDTConfig

    quiet()
    torch.manual_seed(0)
    encoder = ParakeetEncoderConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return ParakeetForTDT(ParakeetTDTConfig(encoder_config=encoder)).eval()


def theirs(model: torch.nn.Module, frames: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Return transformers' loss, on all logits at once."""
    from transformers.loss.loss_tdt import tdt_loss

    decoder = Transducer(model)
    start = labels.new_full((len(labels), 1), decoder.blank_id)
    prediction = decoder.predict(torch.cat([start, labels], 1))
    logits = decoder.join(frames[:, :, None], prediction[:, None])
    size = decoder.vocab_size
    num_labels = torch.full((len(labels),), labels.shape[1])
    loss = tdt_loss(
        logits[..., :size], logits[..., size:], labels, lengths, num_labels, decoder.blank_id,
        list(decoder.durations), reduction="sum",
    )  # fmt: skip
    return loss / labels.numel()


def ours(model: torch.nn.Module, frames: Tensor, labels: Tensor, lengths: Tensor) -> Tensor:
    """Return tpactl's loss."""
    num_labels = torch.full((len(labels),), labels.shape[1])
    return TransducerLoss(Transducer(model))(
        frames, lengths, labels.flatten(), num_labels, labels.numel()
    )


def measure(way: str, batch: int, frames: int, labels: int, rounds: int) -> None:
    """Print seconds (median), peak MiB, and the loss."""
    made = model()
    width = made.config.decoder_hidden_size
    hidden = torch.randn(batch, frames, width, requires_grad=True)
    pieces = torch.randint(0, 8000, (batch, labels))
    lengths = torch.full((batch,), frames)
    loss_of = {"tpactl": ours, "transformers": theirs}[way]
    loss_of(made, hidden[:, :4], pieces[:, :2], torch.full((batch,), 4)).backward()
    forget_resident_peak()
    before = resident_peak_bytes() or 0
    seconds = []
    for _ in range(rounds):
        made.zero_grad()
        hidden.grad = None
        started = time.perf_counter()
        loss = loss_of(made, hidden, pieces, lengths)
        loss.backward()
        seconds.append(time.perf_counter() - started)
    peak = (resident_peak_bytes() or 0) - before
    print(
        f"{way:13} {statistics.median(seconds):6.2f} s   {peak / 2**20:6.0f} MiB   "
        f"loss {loss.item():.4f}"
    )


def main() -> None:
    """Measure both, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=125)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.way:
        measure(args.way, args.batch, args.frames, args.labels, args.rounds)
        return
    for way in WAYS:
        command = [sys.executable, "-m", "tests.bench.transducer_loss", *sys.argv[1:]]
        subprocess.run([*command, "--way", way], check=True)


if __name__ == "__main__":
    main()
