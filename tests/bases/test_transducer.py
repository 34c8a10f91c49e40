"""Transducers: loaded, identified, and decoded greedily as a slow search and transformers do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from models import TRANSDUCERS, tiny_base

from tpactl.bases.identity import fingerprint
from tpactl.bases.load import load_base
from tpactl.errors import BaseError

LENGTHS = torch.tensor([36, 20, 1, 29, 0])


@pytest.fixture(scope="module", params=TRANSDUCERS)
def base(request, tmp_path_factory):
    made = load_base(str(tiny_base(tmp_path_factory.mktemp("base"), request.param)))
    with torch.no_grad():
        made.head.bias[made.blank_id] += 4
        # A TDT's duration of 0, so that it does not stay at a frame for ever: see below.
        made.head.bias[made.vocab_size : made.vocab_size + 1] -= 60
    return made


def frames(seed, width=12):
    """Frames so different that labels, blanks and all durations occur among them."""
    return torch.randn(5, 36, width, generator=torch.Generator().manual_seed(seed)) * 4


def slow_search(decoder, frames):
    """Return the greedy labels of one utterance, its history read anew for each of them."""
    labels, at, emitted = [], 0, 0
    while at < len(frames):
        prediction = decoder.predict(torch.tensor([[decoder.blank_id, *labels]]))[0, -1]
        logits = decoder.join(frames[at][None], prediction[None])[0]
        label = int(logits[: decoder.vocab_size].argmax())
        if label == decoder.blank_id:
            ahead, emitted = 1, 0
        else:
            labels.append(label)
            ahead, emitted = 0, emitted + 1
        if decoder.durations:
            chosen = decoder.durations[int(logits[decoder.vocab_size :].argmax())]
            ahead = max(ahead, chosen)
        if emitted == decoder.max_symbols and not ahead:
            ahead = 1
        emitted = 0 if ahead else emitted
        at += ahead
    return labels


@torch.inference_mode()
@pytest.mark.parametrize("durations", [(0, 1, 2, 3, 4), (3, 0, 1, 2, 7)])
def test_a_batch_is_heard_as_each_utterance_alone_by_a_slow_search(base, monkeypatch, durations):
    decoder = base.decoder
    if decoder.durations:
        monkeypatch.setattr(decoder, "durations", durations)
    heard = []
    for seed in range(6):
        batch = frames(seed)
        found = decoder.labels(batch, LENGTHS)
        expected = [slow_search(decoder, row[:n]) for row, n in zip(batch, LENGTHS, strict=True)]
        assert found == expected
        heard += [len(row) for row in found]
    assert heard[4::5] == [0] * 6
    assert len(set(heard)) > 10


@torch.inference_mode()
def test_a_batch_is_heard_as_transformers_generates_it(base, monkeypatch):
    from transformers import LogitsProcessor
    from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderModelOutput

    class LabelsOnly(LogitsProcessor):
        """``generate`` takes the best of labels and durations together for a label."""

        def __call__(self, input_ids, scores):
            scores[:, base.vocab_size :] = -torch.inf
            return scores

    kept = LENGTHS.clamp(min=1)
    mask = torch.arange(36)[None] < kept[:, None]
    total = 0
    for seed in range(6):
        batch = frames(seed)
        monkeypatch.setattr(
            type(base.model), "get_audio_features",
            lambda *_, batch=batch, **__: ParakeetEncoderModelOutput(
                last_hidden_state=batch, pooler_output=batch, attention_mask=mask
            ),
        )  # fmt: skip
        out = base.model.generate(
            torch.zeros(5, 144, 80), decoder_start_token_id=base.blank_id, max_length=400,
            logits_processor=[LabelsOnly()],
        )  # fmt: skip
        # A row that is finished goes on being filled while others are not.
        starts = out.durations.cumsum(1) - out.durations
        theirs = [
            [label for label, start in zip(row[1:], at[1:], strict=True)
             if start < length and label != base.blank_id]
            for row, at, length in zip(
                out.sequences.tolist(), starts.tolist(), kept.tolist(), strict=True
            )
        ]  # fmt: skip
        assert base.decoder.labels(batch, kept) == theirs
        total += sum(map(len, theirs))
    assert total > 100


@torch.inference_mode()
def test_a_frame_emits_no_more_than_the_models_maximum(base, monkeypatch):
    """An untrained TDT may stay at a frame for ever; transformers fills its output then."""
    blank = torch.zeros(base.decoder.num_outputs)
    blank[3] = 100  # one label, with the first duration, which is 0

    monkeypatch.setattr(base.decoder, "join", lambda frames, _: blank.expand(len(frames), 1, -1))
    assert base.decoder.labels(frames(0), LENGTHS) == [[3] * 3 * n for n in LENGTHS.tolist()]


def test_a_transducer_is_known_by_what_it_is(base):
    assert (
        base.decoder.name
        == {"ParakeetForRNNT": "rnnt", "ParakeetForTDT": "tdt"}[type(base.model).__name__]
    )
    assert base.family.name == "parakeet"
    assert base.head_path == "joint.head"
    assert base.head.out_features == base.decoder.num_outputs
    assert base.blank_id != base.tokenizer.pad_token_id
    assert base.blank_id == base.vocab_size - 1


@torch.inference_mode()
def test_what_a_canary_asks_depends_on_every_weight_outside_the_encoder(base):
    given = torch.randn(1, 6, 12)
    before = base.decoder.probe(given)
    assert before.shape == (1, 6, base.decoder.num_outputs)
    outside = [
        (name, p) for name, p in base.model.named_parameters()
        if name.startswith(("decoder.", "joint."))
    ]  # fmt: skip
    assert len(outside) == 13
    for name, parameter in outside:
        kept = parameter.clone()
        parameter.add_(torch.randn_like(parameter))
        assert not torch.equal(base.decoder.probe(given), before), name
        parameter.copy_(kept)


@pytest.mark.parametrize(
    "tensor",
    ["decoder.lstm.weight_hh_l1", "decoder.embedding.weight", "joint.head.bias",
     "encoder_projector.weight"],
)  # fmt: skip
def test_the_identity_covers_prediction_and_joint_network(tmp_path, tensor):
    from safetensors.torch import load_file, save_file

    folder = tiny_base(tmp_path / "base", "parakeet-tdt")
    before = fingerprint(folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[tensor].view(-1)[0] += 0.5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    after = fingerprint(folder)
    assert after.digest != before.digest
    assert {name for name in before.tensors if before.tensors[name] != after.tensors[name]} == {
        tensor
    }


def test_other_durations_are_another_base(tmp_path):
    folder = tiny_base(tmp_path / "base", "parakeet-tdt")
    before = fingerprint(folder)
    config = json.loads((folder / "config.json").read_text())
    config["durations"] = [0, 1, 2, 3, 8]
    (folder / "config.json").write_text(json.dumps(config))
    assert fingerprint(folder).digest != before.digest


def test_without_its_joint_network_it_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_base(tmp_path / "base", "parakeet-rnnt")
    tensors = load_file(folder / "model.safetensors")
    del tensors["joint.head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseError, match="do not belong together") as caught:
        load_base(str(folder))
    assert "joint.head.weight" in "".join(caught.value.details)


@torch.inference_mode()
def test_in_bf16_it_hears_too(tmp_path):
    base = load_base(str(tiny_base(tmp_path / "base", "parakeet-tdt")), dtype=torch.bfloat16)
    wave = np.random.default_rng(0).normal(size=16_000).astype("float32") * 0.1
    logits, lengths = base.logits(base.features([wave]))
    assert logits.dtype == torch.bfloat16
    assert len(base.decoder.labels(logits, lengths)) == 1
