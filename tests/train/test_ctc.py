from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from interpreted import interpret

from tpactl.train.ctc import by_kernel, ctc_loss, num_states


def batch(frames: int, classes: int, blank: int, device: str = "cpu"):
    """Return logits and labels with repeats: empty, infeasible, short and long utterances."""
    torch.manual_seed(frames)
    lengths = torch.tensor([frames, frames, max(1, frames // 2), frames, 1, frames])
    counts = torch.tensor([3, 0, 2, frames // 2, 1, frames])
    ids = torch.tensor([i for i in range(classes) if i != blank])
    labels = ids[torch.randint(0, min(4, classes - 1), (int(counts.sum()),))]
    logits = (2 * torch.randn(6, frames, classes, device=device)).requires_grad_(True)
    return logits, lengths, labels, counts


def library(logits, lengths, labels, counts, blank: int):
    """Return the sum of losses of the library."""
    log_probs = F.log_softmax(logits, -1).transpose(0, 1)
    return F.ctc_loss(
        log_probs,
        labels.to(logits.device),
        lengths,
        counts,
        blank=blank,
        reduction="sum",
        zero_infinity=True,
    )


def compare(frames: int, classes: int, blank: int, device: str = "cpu") -> None:
    """Hold the kernels against the library in float64: as near as the library in float32 is."""
    logits, lengths, labels, counts = batch(frames, classes, blank, device)
    exact = logits.detach().double().requires_grad_(True)
    truth = library(exact, lengths, labels, counts, blank)
    found = by_kernel(F.log_softmax(logits, -1), lengths, labels, counts, blank)
    torch.testing.assert_close(found.double(), truth, atol=1e-4, rtol=1e-5)
    (wanted,) = torch.autograd.grad(3 * truth, exact)
    usual, gradient = (
        torch.autograd.grad(3 * loss, logits)[0]
        for loss in (library(logits, lengths, labels, counts, blank), found)
    )
    allowed = 3 * (usual - wanted).abs().max() + 1e-5
    assert (gradient - wanted).abs().max() < allowed


@pytest.mark.parametrize("sizes", [(1, 6, 5), (7, 29, 0), (24, 29, 28), (9, 1030, 1029)])
def test_the_kernels_give_the_librarys_loss_and_gradient(sizes):
    interpret(f"from tests.train.test_ctc import compare\ncompare{sizes}")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("sizes", [(1, 6, 5), (24, 29, 28), (250, 1030, 1029), (600, 40, 0)])
def test_on_a_gpu_too(sizes):
    compare(*sizes, device="cuda")


def test_the_loss_is_a_labels_however_many_there_are():
    logits, lengths, labels, counts = batch(24, 29, 28)
    whole = ctc_loss(logits, lengths, labels, counts, 28, len(labels))
    first = ctc_loss(logits[:3], lengths[:3], labels[: counts[:3].sum()], counts[:3], 28, 40)
    rest = ctc_loss(logits[3:], lengths[3:], labels[counts[:3].sum() :], counts[3:], 28, 40)
    torch.testing.assert_close(whole * len(labels) / 40, first + rest)


@pytest.mark.parametrize(("longest", "states"), [(0, 16), (7, 16), (8, 32), (127, 256), (128, 512)])
def test_states_are_the_labels_and_the_blanks_around_them(longest, states):
    assert num_states(torch.tensor([0, longest])) == states
