"""Every question of an evaluation at once, on data made for it."""

import json
import os
import re
from pathlib import Path

import msgspec
import pytest

from tests.eval.builders import heard_by, write_data, write_run
from tpactl.errors import InputError, UsageError
from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.stress import disturbances
from tpactl.eval.systems import system_of_run
from tpactl.formats.dataset import DataSet, digest_of
from tpactl.formats.files import read_jsonl, write_json, write_jsonl
from tpactl.formats.report import LeaderboardRow, Prices, UtteranceResult, read_report

GOLDEN = Path(__file__).parent.parent / "golden" / "report_keys.json"


def add_metadata(data: Path) -> None:
    """Give every utterance a channel, and all but one a site."""
    rows = DataSet(data).utterances("test")
    changed = [
        msgspec.structs.replace(
            row,
            metadata={"channel": "radio" if n % 2 else "phone", **({"site": "a"} if n else {})},
        )
        for n, row in enumerate(rows)
    ]
    write_jsonl(data / "test.jsonl", changed)
    card = DataSet(data).card
    digest = digest_of(("test", row) for row in changed)
    write_json(data / "dataset.json", msgspec.structs.replace(card, digest=digest))


@pytest.fixture(scope="module")
def asked(room, tmp_path_factory):
    """The report on all questions, its folder, and the data."""
    folder = tmp_path_factory.mktemp("questions")
    draft = write_data(folder / "draft", [""] * 14)
    data = write_data(folder / "data", heard_by(room.base, draft))
    add_metadata(data)
    general = write_data(folder / "general", heard_by(room.base, draft)[:8])
    words = " ".join(row.text for row in DataSet(data).utterances("test")).split()
    terms = folder / "terms.txt"
    terms.write_text(f"# of the dock\n{max(words, key=words.count)}\n\nnever said\n")
    rows = DataSet(data).utterances("test")
    leaky = write_run(folder / "leaky", room.base, seed=5, speakers=["spk-0"], texts=[rows[1].text])
    systems = [system_of_run(room.tpa, "tpa"), system_of_run(leaky, "leaky")]
    systems.append(system_of_run(room.full, "full"))
    plan = Plan(
        normaliser="none",
        incumbent="tpa",
        general=general,
        slice_by=("channel", "speaker", "duration", "snr", "site"),
        glossary=terms,
        stress=True,
        single=3,
        prices=Prices(price_per_hour=3.6, watts=500.0, price_per_kwh=0.5, currency="EUR"),
        departments=20,
    )
    out = folder / "report"
    return compare(data, "test", str(room.base), systems, out, plan=plan), out, data


def test_keys_of_the_report_are_those_of_the_golden_file(asked):
    def keys(value):
        if isinstance(value, dict):
            return {key: keys(inner) for key, inner in value.items()}
        return [keys(value[-1])] if isinstance(value, list) and value else type(value).__name__

    report, out, _ = asked
    first = (out / "utterances.jsonl").read_text().splitlines()[0]
    found = {
        "report.json": keys(msgspec.to_builtins(report)),
        "utterances.jsonl": keys(json.loads(first)),
    }
    if os.environ.get("TPACTL_REFRESH_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text())


def test_the_report_is_read_as_it_was_written(asked):
    report, out, _ = asked
    assert read_report(out) == report


def test_a_report_of_a_later_version_is_refused_and_an_older_one_read(asked, tmp_path):
    report, _, _ = asked
    later = msgspec.structs.replace(report, schema_version=3)
    write_json(tmp_path / "report.json", later)
    with pytest.raises(InputError, match="schema version 3; this tpactl reads 1, 2"):
        read_report(tmp_path)
    old = json.loads((tmp_path / "report.json").read_text())
    old = {key: old[key] for key in list(old) if key not in NEW_KEYS} | {"schema_version": 1}
    new_of_system = ("decoding", "raw_cer", "real_time_factor_single", "inference_memory_bytes")
    for system in old["systems"]:
        for key in (*new_of_system, "curve"):
            del system[key]
    (tmp_path / "report.json").write_text(json.dumps(old))
    assert read_report(tmp_path).systems[0].wer == report.systems[0].wer


NEW_KEYS = {
    "metric", "incumbent", "full", "comparisons", "general", "slicings", "worst_slices",
    "glossary", "stress", "costs", "timing_utterances",
}  # fmt: skip


def test_every_system_is_compared_with_base_incumbent_and_full(asked):
    report, _, _ = asked
    pairs = [(row.system, row.against, row.role) for row in report.comparisons]
    assert pairs == [
        ("tpa", "base", "base"), ("leaky", "base", "base"), ("full", "base", "base"),
        ("leaky", "tpa", "incumbent"), ("full", "tpa", "incumbent"),
        ("tpa", "full", "full"), ("leaky", "full", "full"),
    ]  # fmt: skip
    by_name = {system.name: system for system in report.systems}
    for row in report.comparisons:
        gap = by_name[row.system].wer.rate - by_name[row.against].wer.rate
        assert row.difference == pytest.approx(gap)
        assert row.low <= row.difference <= row.high
    # The base makes no error here, so whatever differs from it is worse, and surely so.
    against_base = report.comparisons[0]
    assert against_base.difference > 0
    assert against_base.probability_of_improvement == 0
    assert against_base.mapsswe.p_value < 0.05
    assert against_base.mapsswe.mean > 0
    assert against_base.relative is None


def test_forgetting_is_the_difference_to_the_base_on_the_general_set(asked):
    general = asked[0].general
    assert (general.utterances, general.speakers, general.split) == (8, 6, "test")
    base, *others = general.results
    assert (base.system, base.degradation, base.low) == ("base", 0, None)
    assert [row.system for row in others] == ["tpa", "leaky", "full"]
    for row in others:
        assert row.degradation == pytest.approx(row.wer.rate - base.wer.rate)
        assert row.degradation > 0
        assert row.low <= row.degradation <= row.high


def test_slices_part_the_set_without_losing_an_error(asked):
    report, _, _ = asked
    assert [(s.column, s.kind) for s in report.slicings] == [
        ("channel", "metadata"), ("speaker", "speaker"), ("duration", "duration"),
        ("snr", "snr"), ("site", "metadata"),
    ]  # fmt: skip
    for slicing in report.slicings[:4]:
        assert slicing.without_value == 0
        assert sum(part.utterances for part in slicing.slices) == report.utterances == 14
        for place, system in enumerate(report.systems):
            parts = [part.results[place] for part in slicing.slices]
            assert {rates.system for rates in parts} == {system.name}
            assert sum(r.wer.substitutions for r in parts) == system.wer.substitutions
            assert sum(r.cer.reference_length for r in parts) == system.cer.reference_length
    channel, speaker, duration, snr, site = report.slicings
    assert [part.value for part in channel.slices] == ["phone", "radio"]
    assert [part.speakers for part in speaker.slices] == [1] * 6
    assert [part.value for part in duration.slices] == ["< 2 s"]
    # Gaussian noise is what it is.
    assert [part.value for part in snr.slices] == ["< 0 dB"]
    assert (site.without_value, site.slices[0].utterances) == (1, 13)


def test_the_worst_slice_is_the_worst_and_tells_its_size(asked):
    report, out, _ = asked
    assert [worst.system for worst in report.worst_slices] == ["base", "tpa", "leaky", "full"]
    worst = report.worst_slices[1]
    rates = [
        part.results[1].wer.rate
        for slicing in report.slicings
        for part in slicing.slices
        if part.results[1].wer.reference_length >= worst.fewest_words
    ]
    assert worst.rate.rate == max(rates, default=worst.rate.rate)
    assert worst.utterances > 0
    assert f"({worst.utterances} utterances" in (out / "report.md").read_text()


def test_terms_are_counted_for_each_system(asked):
    glossary = asked[0].glossary
    said, never = glossary.terms
    assert (said.results[0].recall, said.results[0].precision) == (1.0, 1.0)
    assert said.results[0].in_reference > 0
    assert any((row.recall, row.precision) != (1.0, 1.0) for row in said.results[1:])
    assert (never.results[0].in_reference, never.results[0].recall) == (0, None)
    assert [row.system for row in glossary.total] == ["base", "tpa", "leaky", "full"]
    assert glossary.total[0].correct == said.results[0].correct


def test_stress_measures_every_system_under_every_disturbance(asked):
    stress = asked[0].stress
    assert [point.label for point in stress.points] == [d.label for d in disturbances()]
    assert len(stress.points) == 9
    for point in stress.points:
        assert [rates.system for rates in point.results] == ["base", "tpa", "leaky", "full"]
        # The base is flawless on the audio as it was, not on this one.
        assert point.results[0].wer.rate > 0


def test_costs_follow_from_what_was_measured(asked):
    report, _, _ = asked
    base, tpa, _, full = report.costs.systems
    assert (base.train_money, base.projection, base.size_bytes) == (None, None, None)
    # The run took 2 s: 2/3600 h of a machine at 3.6, and 500 W at 0.5 a kWh.
    assert tpa.train_kwh == pytest.approx(500 * 2 / 3.6e6)
    assert tpa.train_money == pytest.approx(2 / 3600 * 3.6 + tpa.train_kwh * 0.5)
    assert tpa.kwh_per_audio_hour == pytest.approx(tpa.real_time_factor * 0.5)
    assert tpa.against_full.trained_parameters == pytest.approx(
        tpa.trained_parameters / full.trained_parameters
    )
    assert tpa.against_full.train_seconds == 1.0
    assert full.against_full is None
    assert tpa.projection.stored_bytes == report.costs.base_bytes + 20 * tpa.size_bytes
    assert full.projection.stored_bytes == 20 * full.size_bytes
    assert tpa.projection.train_seconds == 40.0
    assert report.timing_utterances == 3
    for system in report.systems:
        assert system.real_time_factor_single > 0
        assert system.inference_memory_bytes is None or system.inference_memory_bytes > 10**7


def test_leaks_are_told_of_test_and_general_set(asked):
    found = [(leak.system, leak.data, leak.speakers) for leak in asked[0].leaks]
    assert found == [("leaky", "test", 1), ("leaky", "general", 1)]


def test_strict_refuses_a_leak_before_anything_is_recognised(room, asked, tmp_path):
    leaky = system_of_run(Path(asked[0].systems[2].source), "leaky")
    with pytest.raises(InputError, match="rest on audio, texts or speakers") as caught:
        compare(asked[2], "test", "no-such-base", [leaky], tmp_path / "out", strict=True)
    assert "leaky was trained on part of this test" in caught.value.details[0]
    assert list(tmp_path.iterdir()) == []
    clean = system_of_run(room.tpa, "clean")
    assert compare(asked[2], "test", str(room.base), [clean], strict=True).leaks == []


def test_utterances_carry_all_that_a_reader_asks_for(asked):
    report, out, data = asked
    rows = list(read_jsonl(out / "utterances.jsonl", UtteranceResult))
    assert len(rows) == 4 * 14
    for row in rows:
        assert (data / row.audio_filepath).is_file()
        assert row.seconds > 0
        assert row.snr_db is not None
    tpa = [row for row in rows if row.system == "tpa"]
    result = report.systems[1]
    assert sum(row.seconds for row in tpa) == pytest.approx(result.seconds)
    assert sum(row.raw_errors for row in tpa) / sum(
        row.raw_reference_length for row in tpa
    ) == pytest.approx(result.raw_wer.rate)
    assert sum(row.character_errors for row in tpa) / sum(
        row.character_reference_length for row in tpa
    ) == pytest.approx(result.cer.rate)
    assert {row.metadata["channel"] for row in tpa} == {"phone", "radio"}


def test_exports_hold_the_same_texts(asked):
    _, out, _ = asked
    rows = list(read_jsonl(out / "utterances.jsonl", UtteranceResult))
    assert sorted(path.name for path in (out / "trn").iterdir()) == [
        "hyp.base.trn", "hyp.full.trn", "hyp.leaky.trn", "hyp.tpa.trn", "ref.trn",
    ]  # fmt: skip
    assert len(list((out / "leaderboard").iterdir())) == 4
    board = list(read_jsonl(out / "leaderboard" / "tpa.jsonl", LeaderboardRow))
    tpa = [row for row in rows if row.system == "tpa"]
    assert [(b.audio_filepath, b.duration, b.time, b.text, b.pred_text) for b in board] == [
        (r.audio_filepath, r.duration_s, r.seconds, r.reference_normalised, r.hypothesis_normalised)
        for r in tpa
    ]
    references = (out / "trn" / "ref.trn").read_text().splitlines()
    heard = (out / "trn" / "hyp.tpa.trn").read_text().splitlines()
    assert len(references) == len(heard) == 14
    assert re.fullmatch(r".*\(spk_0-000000\)", references[0])
    assert [line.rsplit(" (")[1] for line in references] == [line.rsplit(" (")[1] for line in heard]


def test_the_page_answers_every_question(asked):
    page = (asked[1] / "report.md").read_text()
    for heading in ("Is it better?", "What did it forget?", "For whom?", "Department terms",
                    "Under stress", "Cost", "What the figures rest on"):  # fmt: skip
        assert f"## {heading}" in page
    assert "EUR" in page


# What the user may get wrong


@pytest.mark.parametrize(
    ("plan", "error", "problem"),
    [
        (Plan(slice_by=("accent", "site")), UsageError, "no column 'accent'"),
        (Plan(incumbent="nobody"), UsageError, "no system is called 'nobody'"),
        (Plan(glossary=Path("absent.txt")), InputError, "absent.txt: cannot be read"),
        (Plan(general=Path("absent")), InputError, "no prepared data set"),
        (Plan(prices=Prices(watts=-1.0)), InputError, "watts is -1.0"),
        (Plan(departments=0), UsageError, "departments is 0"),
    ],
)
def test_faults_are_told_before_a_model_is_loaded(asked, plan, error, problem):
    with pytest.raises(error, match=problem):
        compare(asked[2], "test", "no-such-base", plan=plan)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "holds no term"), (b"# x\n", "holds no term"), (b"dock\n!?\n", "leaves nothing of: !"),
     (b"\xff\xfe\x00", "no UTF-8")],
)  # fmt: skip
def test_a_glossary_without_terms_is_refused(asked, tmp_path, content, problem):
    file = tmp_path / "terms.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=problem):
        compare(asked[2], "test", "no-such-base", plan=Plan(glossary=file))


def test_japanese_is_compared_by_character(room, tmp_path):
    data = write_data(tmp_path / "ja", ["倉庫の棚、三番。", "はい", "コーヒー"] * 2)
    report = compare(data, "test", str(room.base))
    assert (report.normaliser.name, report.metric) == ("cjk", "cer")
    assert report.systems[0].cer.reference_length == 2 * (6 + 2 + 4)
