"""Real recordings through prepare and eval; the base is a random one, so its words mean nothing."""

from pathlib import Path

import numpy as np

from tpactl.audio.decode import decode
from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.snr import estimate_snr_db
from tpactl.eval.stress import noisy
from tpactl.eval.systems import system_of_run
from tpactl.formats.dataset import DataSet
from tpactl.formats.files import read_jsonl
from tpactl.formats.report import UtteranceResult
from tpactl.prepare.prepare import prepare


def test_phone_recordings_are_measured_with_intervals_by_speaker(room, speech_dir, tmp_path):
    data = tmp_path / "data"
    prepare(speech_dir / "departments" / "call-desk-alphanumerics" / "dev", data)
    out = tmp_path / "report"
    report = compare(
        data, "train", str(room.base), [system_of_run(room.tpa, "tpa")], out,
        plan=Plan(normaliser="whisper-basic"),
    )  # fmt: skip
    utterances = DataSet(data).utterances("train")
    words = sum(len(utterance.text.split()) for utterance in utterances)
    assert report.utterances == len(utterances) > 20
    assert report.speakers > 10
    for system in report.systems:
        # Spelled letters and digits: whisper-basic parts and joins nothing in them.
        assert system.wer.reference_length == words
        assert system.wer.low < system.wer.rate < system.wer.high
    rows = list(read_jsonl(out / "utterances.jsonl", UtteranceResult))
    assert len(rows) == 2 * len(utterances)
    assert report.leaks == []


def test_the_estimated_snr_follows_noise_that_is_added(speech_dir: Path):
    files = sorted((speech_dir / "general" / "dev").glob("*.opus"))[:8]
    levels = (20.0, 10.0, 5.0, 0.0)
    found = np.array(
        [
            [
                estimate_snr_db(noisy(db, decode(file).samples, np.random.default_rng(1)))
                for db in levels
            ]
            for file in files
        ]
    )
    assert len(found) == 8
    # Recordings are noisy themselves, so the estimate is a little below what was added.
    assert (np.diff(found, axis=1) < 0).all()
    assert (np.abs(np.median(found, axis=0)[1:] - levels[1:]) < 4).all()
