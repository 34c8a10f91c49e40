"""A report with every part filled in, and its utterances: made by hand, seeded, in no time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from tpactl.audio.write import write_flac
from tpactl.formats.dataset import DataSetCard, SplitSummary, Utterance, digest_of
from tpactl.formats.files import write_json, write_jsonl
from tpactl.formats.report import (
    AgainstFull,
    Comparison,
    Cost,
    Costs,
    CurvePoint,
    General,
    GeneralResult,
    Glossary,
    Interval,
    Leak,
    Mapsswe,
    Normaliser,
    Prices,
    Projection,
    Rate,
    Report,
    Slice,
    Slicing,
    Stress,
    StressPoint,
    SystemRates,
    SystemResult,
    Term,
    TermResult,
    UtteranceResult,
    WorstSlice,
)

SYSTEMS = {"base": 0.42, "today": 0.30, "picking": 0.18, "full": 0.15}
"""Name and error rate."""
SENTENCES = [
    "move the stacked gaylord from the cold room to rack eleven victor",
    "lot s m five eight of flange wicket needs a tare weight",
    "stage thirty crates for norvane lines in dock twenty one tango",
    "cycle count rack fourteen zulu shows nineteen totes of bindle strap",
    "hold the flange wicket wave the cross dock is blocked",
    "we are eighteen skids short on mullion clamp for norvane lines",
]
HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'> <!-- <script>",
    "donaudampfschifffahrtsgesellschaft" * 8,
    "مرحبا بالعالم \u202e reversed \u2066 text",
    "{{ 7 * 7 }} {% raw %} &amp; \u2028 \x7f '\"`",
    "",
]


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def rate(errors: int, words: int) -> Rate:
    deletions, insertions = errors // 4, errors // 8
    value = errors / words
    return Rate(
        rate=value, low=value * 0.82, high=value * 1.25,
        substitutions=errors - deletions - insertions, deletions=deletions, insertions=insertions,
        hits=words - (errors - insertions), reference_length=words,
    )  # fmt: skip


def rates(factor: float = 1.0, words: int = 1000) -> list[SystemRates]:
    return [
        SystemRates(
            system=name,
            wer=rate(round(words * min(value * factor, 1.0)), words),
            cer=rate(round(words * min(value * factor, 1.0) / 2), words),
        )
        for name, value in SYSTEMS.items()
    ]


def full_report(**changes: Any) -> Report:
    """Return a report that has everything the format knows."""
    measured = {part.system: part for part in rates()}
    kinds = {"base": "base", "today": "package", "picking": "run", "full": "full"}
    sizes = {"today": 2_400_000, "picking": 1_900_000, "full": 31_000_000}
    systems = [
        SystemResult(
            name=name, kind=kinds[name], source=f"/home/somebody/{name}", digest=digest(name),
            wer=measured[name].wer, cer=measured[name].cer, raw_wer=measured[name].wer,
            real_time_factor=0.025, seconds=12.5, real_time_factor_single=0.06,
            trained_parameters=sizes[name] // 4 if name in sizes else None,
            size_bytes=sizes.get(name), train_seconds=167.0 if name in sizes else None,
            peak_memory_bytes=1_100_000_000 if name in sizes else None,
            inference_memory_bytes=320_000_000,
            curve=[
                CurvePoint(step=step, seconds=step * 0.5, dev_wer=0.4 - 0.0008 * step, dev_cer=None)
                for step in (0, 100, 200, 300)
            ] if name in ("picking", "full") else [],
        )
        for name in SYSTEMS
    ]  # fmt: skip
    comparisons = [
        compared("picking", "base", "base", -0.24),
        compared("picking", "today", "incumbent", -0.12),
        compared("picking", "full", "full", 0.03, p_value=0.08, probability=0.11),
    ]
    fields: dict[str, Any] = {
        "tpactl_version": "0.1.0",
        "data_path": "/home/somebody/warehouse",
        "data_digest": digest("data"),
        "split": "test",
        "utterances": 6,
        "speakers": 6,
        "duration_s": 1800.0,
        "empty_references": 1,
        "normaliser": Normaliser(name="whisper-english", version="1+whisper-normalizer-0.1.15"),
        "interval": Interval(method="cluster bootstrap", unit="speaker", resamples=2000, seed=0),
        "base_ref": "starter",
        "base_digest": digest("base"),
        "systems": systems,
        "leaks": [],
        "device": "cpu",
        "incumbent": "today",
        "full": "full",
        "comparisons": comparisons,
        "general": general(),
        "slicings": slicings(),
        "worst_slices": [
            WorstSlice(
                system=name, column="channel", value="forklift radio", utterances=4, speakers=2,
                duration_s=200.0, fewest_words=100, metric="wer", rate=rate(300, 1000),
            )
            for name in SYSTEMS
        ],
        "glossary": glossary(),
        "stress": stress(),
        "costs": costs(),
        "timing_utterances": 12,
    }  # fmt: skip
    return Report(**{**fields, **changes})


def compared(
    system: str,
    against: str,
    role: Any,
    difference: float,
    *,
    p_value: float | None = 0.0005,
    probability: float | None = 0.9995,
) -> Comparison:
    known = p_value is not None
    return Comparison(
        system=system, against=against, role=role, metric="wer", difference=difference,
        low=difference - 0.05 if known else None, high=difference + 0.05 if known else None,
        relative=-0.5, probability_of_improvement=probability, p_value=p_value,
        mapsswe=Mapsswe(segments=40, mean=-1.0, statistic=-4.0, p_value=0.0001),
    )  # fmt: skip


def general() -> General:
    results = []
    for part, change in zip(rates(0.5), (0.0, 0.012, 0.021, 0.055), strict=True):
        is_base = part.system == "base"
        results.append(
            GeneralResult(
                system=part.system, wer=part.wer, cer=part.cer, raw_wer=part.wer,
                degradation=change, low=None if is_base else change - 0.01,
                high=None if is_base else change + 0.01, p_value=None if is_base else 0.01,
            )
        )  # fmt: skip
    return General(
        data_path="/home/somebody/general", data_digest=digest("general"), split="test",
        utterances=50, speakers=10, duration_s=600.0, empty_references=0, metric="wer",
        interval=Interval(method="cluster bootstrap", unit="speaker", resamples=2000, seed=0),
        results=results,
    )  # fmt: skip


def slicings() -> list[Slicing]:
    def part(value: str, factor: float) -> Slice:
        return Slice(
            value=value, utterances=round(10 * factor), speakers=3, duration_s=60.0,
            results=rates(factor),
        )  # fmt: skip

    channels = [part("headset", 0.7), part("forklift radio", 1.7), part("handset", 1.0)]
    lengths = [part("< 2 s", 1.3), part("2-5 s", 1.0), part("5-10 s", 0.8)]
    people = [part(f"speaker {number:02d}", 0.5 + number / 12) for number in range(15)]
    return [
        Slicing(column="channel", kind="metadata", without_value=1, slices=channels),
        Slicing(column="duration", kind="duration", without_value=0, slices=lengths),
        Slicing(column="speaker", kind="speaker", without_value=0, slices=people),
    ]


def glossary() -> Glossary:
    def results(said: int) -> list[TermResult]:
        return [
            TermResult(
                system=name, in_reference=said, in_hypothesis=said,
                correct=round(said * (1 - value)), recall=1 - value, precision=0.9,
            )
            for name, value in SYSTEMS.items()
        ]  # fmt: skip

    return Glossary(
        path="/home/somebody/terms.txt",
        digest=digest("terms"),
        terms=[
            Term(term=term, normalised=term, results=results(9))
            for term in ("gaylord", "flange wicket", "norvane")
        ],
        total=results(27),
    )


def stress() -> Stress:
    points = [("noise", level, 1 + (20 - level) / 15) for level in (0.0, 5.0, 10.0, 20.0)]
    points += [("reverberation", 0.3, 1.1), ("reverberation", 0.9, 1.6)]
    points += [("speed", 0.8, 1.2), ("speed", 1.25, 1.3), ("telephone", None, 1.4)]
    return Stress(
        seed=0,
        utterances=12,
        duration_s=1800.0,
        points=[
            StressPoint(kind=kind, level=level, label=kind, results=rates(factor))
            for kind, level, factor in points
        ],
    )


def costs() -> Costs:
    sizes = {"base": None, "today": 2_400_000, "picking": 1_900_000, "full": 31_000_000}
    return Costs(
        prices=Prices(price_per_hour=2.5, watts=300.0),
        departments=20,
        base_bytes=31_000_000,
        base_parameters=7_700_000,
        systems=[
            Cost(
                system=name, trained_parameters=None if size is None else size // 4,
                size_bytes=size, train_seconds=None if size is None else 167.0,
                train_memory_bytes=None, real_time_factor=0.025, real_time_factor_single=0.06,
                inference_memory_bytes=320_000_000, train_money=None if size is None else 0.12,
                train_kwh=None if size is None else 0.014, money_per_audio_hour=0.06,
                kwh_per_audio_hour=0.007,
                against_full=AgainstFull(
                    trained_parameters=0.06, size_bytes=0.06, train_seconds=0.9,
                    train_memory_bytes=None, real_time_factor=1.0, train_money=0.9,
                ) if name in ("today", "picking") else None,
                projection=None if size is None else Projection(
                    stored_bytes=31_000_000 + 20 * size, train_seconds=3340.0, train_money=2.4,
                    train_kwh=0.28,
                ),
            )
            for name, size in sizes.items()
        ],
    )  # fmt: skip


def leak(system: str = "picking") -> Leak:
    return Leak(system=system, utterances=5, speakers=1, same_text=3, same_audio=2)


def utterance(system: str, number: int, text: str, speaker: str) -> UtteranceResult:
    """Return what ``system`` makes of ``text``: words go wrong in turn, the better the fewer."""
    words = text.split()
    heard = [
        word + "x" if (number + index) % 10 < SYSTEMS.get(system, 0.3) * 10 else word
        for index, word in enumerate(words)
    ]
    wrong = sum(a != b for a, b in zip(words, heard, strict=True))
    return UtteranceResult(
        system=system, id=f"utt-{number:05d}", speaker=speaker, duration_s=2.0,
        reference=text, hypothesis=" ".join(heard), reference_normalised=" ".join(words),
        hypothesis_normalised=" ".join(heard), normaliser="none@1", substitutions=wrong,
        deletions=0, insertions=0, hits=len(words) - wrong, character_errors=wrong,
        character_reference_length=len(" ".join(words)),
    )  # fmt: skip


def write_report(
    folder: Path, texts: list[str] | None = None, speaker: str = "ann", **changes: Any
) -> Path:
    """Write ``report.json`` and ``utterances.jsonl`` into ``folder``."""
    texts = SENTENCES if texts is None else texts
    report = full_report(**{"utterances": len(texts), **changes})
    write_json(folder / "report.json", report)
    write_jsonl(
        folder / "utterances.jsonl",
        [
            utterance(system.name, number, text, f"{speaker} {number % 6}")
            for system in report.systems
            for number, text in enumerate(texts)
        ],
    )
    return folder


def write_data(folder: Path, texts: list[str], seconds: float = 2.0) -> Path:
    """Write the data set that a report of ``texts`` was made from, with audio."""
    (folder / "audio").mkdir(parents=True)
    rows = []
    for number, text in enumerate(texts):
        noise = np.random.default_rng(number).normal(0, 0.1, round(seconds * 16_000))
        path = f"audio/{number}.flac"
        sound = write_flac(folder / path, noise.astype(np.float32))
        rows.append(
            Utterance(
                audio_filepath=path, duration=seconds, text=text, id=f"utt-{number:05d}",
                speaker="ann", audio_digest=sound,
            )
        )  # fmt: skip
    write_jsonl(folder / "test.jsonl", rows)
    summary = SplitSummary(utterances=len(rows), duration_s=1.0, speakers=None, characters=1)
    write_json(
        folder / "dataset.json",
        DataSetCard(
            source="noise", source_form="pairs", digest=digest_of(("test", row) for row in rows),
            splits={"test": summary}, split_by="source", tpactl_version="0.1.0",
        ),
    )  # fmt: skip
    return folder
