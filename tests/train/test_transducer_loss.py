"""The transducer loss: a sum over all paths, as listing every one of them gives it."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models import TRANSDUCERS, tiny_base
from tpactl.audio import torchaudio
from tpactl.bases.load import load_base
from tpactl.train.lattice import Arcs, negative_log_likelihood
from tpactl.train.loss import TransducerLoss, loss_of


def paths(blanks, labels, frames, num_labels, frame=0, emitted=0):
    """Yield the log probability of every path of one utterance.

    ``blanks`` and ``labels`` map a duration to (frames, labels + 1) scores.
    """
    if frame == frames:
        if emitted == num_labels:
            yield 0.0
        return
    for duration, scores in blanks.items():
        if frame + duration <= frames:
            for rest in paths(blanks, labels, frames, num_labels, frame + duration, emitted):
                yield scores[frame, emitted].item() + rest
    for duration, scores in labels.items():
        # The end is reached by a blank alone.
        if emitted < num_labels and frame + duration < frames:
            for rest in paths(blanks, labels, frames, num_labels, frame + duration, emitted + 1):
                yield scores[frame, emitted].item() + rest


def enumerated(blanks, labels, frames, num_labels):
    losses = []
    for row in range(len(frames)):

        def of(arcs, row=row):
            return {d: arcs.scores[row, :, :, k] for k, d in enumerate(arcs.durations)}

        found = list(paths(of(blanks), of(labels), int(frames[row]), int(num_labels[row])))
        total = sum(math.exp(path) for path in found)
        losses.append(-math.log(total) if found else math.inf)
    return torch.tensor(losses)


def random_arcs(seed, durations, batch=4, frames=5, labels=3):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, frames, labels + 1, len(durations), generator=generator).double()
    return Arcs((scores - 1).requires_grad_(), durations)


KINDS = [((1,), (0,)), ((1, 2, 3), (0, 1, 2, 3)), ((2, 1), (1, 2)), ((1, 4), (0, 4))]
FRAMES = torch.tensor([5, 4, 2, 1])
LABELS = torch.tensor([3, 1, 2, 0])


@pytest.mark.parametrize(("blank", "label"), KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_sum_over_every_path(blank, label, seed):
    blanks, labels = random_arcs(seed, blank), random_arcs(seed + 50, label)
    found = negative_log_likelihood(blanks, labels, FRAMES, LABELS)
    expected = enumerated(blanks, labels, FRAMES, LABELS)
    torch.testing.assert_close(found.float(), expected.float(), atol=1e-5, rtol=1e-5)
    assert found.isfinite().sum() >= 3


@pytest.mark.parametrize(("blank", "label"), KINDS)
def test_its_gradient_is_that_of_the_sum(blank, label):
    blanks, labels = random_arcs(1, blank, batch=3), random_arcs(2, label, batch=3)
    frames, num_labels = torch.tensor([5, 4, 3]), torch.tensor([3, 1, 0])
    assert torch.autograd.gradcheck(
        lambda b, n: negative_log_likelihood(Arcs(b, blank), Arcs(n, label), frames, num_labels),
        (blanks.scores, labels.scores),
    )


def test_an_utterance_without_a_path_is_infinite_and_teaches_nothing():
    blanks, labels = random_arcs(0, (2,)), random_arcs(1, (1,))
    losses = negative_log_likelihood(
        blanks, labels, torch.tensor([5, 3, 4, 2]), torch.tensor([1, 3, 0, 0])
    )
    assert losses.isinf().tolist() == [False, True, False, False]
    losses[~losses.isinf()].sum().backward()
    assert blanks.scores.grad.isfinite().all()
    assert not blanks.scores.grad[1].any()
    assert not labels.scores.grad[1].any()


@pytest.fixture(scope="module", params=TRANSDUCERS)
def base(request, tmp_path_factory):
    made = load_base(str(tiny_base(tmp_path_factory.mktemp("base"), request.param)))
    made.model.requires_grad_(True)
    return made


def batch(base):
    generator = torch.Generator().manual_seed(3)
    frames = torch.randn(3, 14, 12, generator=generator)
    lengths = torch.tensor([14, 9, 11])
    label_lengths = torch.tensor([6, 2, 4])
    labels = torch.randint(0, base.blank_id - 1, (12,), generator=generator)
    return frames, lengths, labels, label_lengths


def gradients(base, loss):
    base.model.zero_grad()
    loss.backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in base.model.named_parameters()
        if name.startswith(("decoder.", "joint."))
    }


def whole_logits(base, frames, labels, label_lengths):
    """All logits at once, and the labels as rows."""
    rows = torch.nn.utils.rnn.pad_sequence(labels.split(label_lengths.tolist()), True)
    start = rows.new_full((len(rows), 1), base.blank_id)
    prediction = base.decoder.predict(torch.cat([start, rows], 1))
    return base.decoder.join(frames[:, :, None], prediction[:, None]), rows


@pytest.mark.parametrize("base", ["parakeet-tdt"], indirect=True)
def test_of_a_tdt_it_is_what_transformers_computes(base):
    from transformers.loss.loss_tdt import tdt_loss

    frames, lengths, labels, label_lengths = batch(base)
    logits, rows = whole_logits(base, frames, labels, label_lengths)
    size = base.vocab_size
    theirs = tdt_loss(
        logits[..., :size], logits[..., size:], rows, lengths, label_lengths, base.blank_id,
        list(base.decoder.durations), reduction="sum",
    ) / 12  # fmt: skip
    expected = gradients(base, theirs)
    ours = loss_of(base)(frames, lengths, labels, label_lengths, 12)
    torch.testing.assert_close(ours, theirs)
    found = gradients(base, ours)
    assert found.keys() == expected.keys()
    assert len(found) == 13
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("base", ["parakeet-rnnt"], indirect=True)
def test_of_an_rnnt_it_is_what_torchaudio_computes(base):
    if not torchaudio.available()[0]:
        pytest.skip("torchaudio does not load beside this torch")
    from torchaudio.functional import rnnt_loss

    frames, lengths, labels, label_lengths = batch(base)
    logits, rows = whole_logits(base, frames, labels, label_lengths)
    theirs = rnnt_loss(
        logits.contiguous(), rows.int(), lengths.int(), label_lengths.int(),
        blank=base.blank_id, reduction="sum",
    ) / 12  # fmt: skip
    expected = gradients(base, theirs)
    ours = loss_of(base)(frames, lengths, labels, label_lengths, 12)
    torch.testing.assert_close(ours, theirs)
    for name, gradient in gradients(base, ours).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)


def test_a_few_frames_at_a_time_give_the_loss_and_the_gradients_of_all_at_once(base):
    frames, lengths, labels, label_lengths = batch(base)
    whole = TransducerLoss(base.decoder)(frames, lengths, labels, label_lengths, 12)
    expected = gradients(base, whole)
    few = TransducerLoss(base.decoder, at_once=1)(frames, lengths, labels, label_lengths, 12)
    torch.testing.assert_close(few, whole)
    for name, gradient in gradients(base, few).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-4)


def test_neither_padding_nor_company_changes_it(base):
    frames, lengths, labels, label_lengths = batch(base)
    loss = loss_of(base)
    together = loss(frames, lengths, labels, label_lengths, 1)
    alone = [
        loss(frames[i : i + 1, : lengths[i]], lengths[i : i + 1], row, label_lengths[i : i + 1], 1)
        for i, row in enumerate(labels.split(label_lengths.tolist()))
    ]
    torch.testing.assert_close(together, sum(alone))
