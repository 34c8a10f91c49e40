"""The record of a finished run, for tests that need one without training."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tpactl.formats.run import Cost, RunConfig, RunRecord


def run_record(
    config: RunConfig, base_digest: str, *, parameters: int, **changes: Any
) -> RunRecord:
    """Return the record of a short run of ``config`` that halved dev WER.

    Args:
        config: its ``base`` is what the record names.
        base_digest: of that base.
        parameters: that were trained.
        changes: of the record's fields.
    """
    record = RunRecord(
        tpactl_version="0.1.0",
        config=config,
        base_ref=config.base,
        base_digest=base_digest,
        data_path="somewhere",
        data_digest="sha256:0",
        train_speakers=["someone"],
        train_text_digests=[],
        train_audio_digests=[],
        best_step=40,
        best_dev_wer=0.25,
        best_dev_cer=0.1,
        base_dev_wer=0.5,
        base_dev_cer=0.2,
        stopped_by="steps",
        cost=Cost(
            seconds=12.5, peak_memory_bytes=1000, device="cpu", trained_parameters=parameters,
            adapter_parameters=8, head_parameters=12, base_parameters=1000, steps=50, epochs=2.0,
            audio_hours_seen=0.5,
        ),
        environment={},
    )  # fmt: skip
    return replace(record, **changes)
