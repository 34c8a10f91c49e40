from pathlib import Path

import msgspec
import pytest

from tests.eval.builders import copy, talking_base, write_data, write_rows, write_run
from tpactl.errors import BaseError, InputError, IntegrityError, MachineError, UsageError
from tpactl.eval.compare import compare
from tpactl.eval.plan import Plan
from tpactl.eval.systems import labels, system_of_run
from tpactl.formats.dataset import DataSet
from tpactl.formats.files import read_json, read_jsonl
from tpactl.formats.report import Report, UtteranceResult
from tpactl.scoring.normalise import get_normaliser
from tpactl.scoring.wer import count, rate


@pytest.fixture(scope="module")
def four(room, tmp_path_factory):
    """Base, TPA, head and full fine-tune: the report, and the folder it was written to."""
    out = tmp_path_factory.mktemp("report") / "all"
    systems = [system_of_run(getattr(room, name), name) for name in ("tpa", "head", "full")]
    return compare(
        room.data, "test", str(room.base), systems, out, plan=Plan(normaliser="none")
    ), out


def test_every_system_is_itself(four):
    report, _ = four
    by_name = {system.name: system for system in report.systems}
    assert list(by_name) == ["base", "tpa", "head", "full"]
    assert [system.kind for system in report.systems] == ["base", "run", "run", "full"]
    # The references are what the base hears; an adapter that is not applied would have WER 0 too.
    assert by_name["base"].wer.rate == 0
    assert by_name["base"].cer.rate == 0
    others = [by_name[name] for name in ("tpa", "head", "full")]
    assert all(system.wer.rate > 0 for system in others)
    assert len({(system.wer, system.cer) for system in others}) == 3


def test_the_base_hears_the_same_whoever_stands_beside_it(room, four):
    alone = compare(room.data, "test", str(room.base), plan=Plan(normaliser="none"))
    assert alone.systems[0].wer == four[0].systems[0].wer
    assert len(alone.systems) == 1


def test_an_adapter_hears_the_same_in_any_company(room, four):
    alone = compare(
        room.data,
        "test",
        str(room.base),
        [system_of_run(room.head, "h")],
        plan=Plan(normaliser="none"),
    )
    together = next(system for system in four[0].systems if system.name == "head")
    assert alone.systems[1].wer == together.wer


def test_the_files_hold_the_report_and_every_utterance_of_every_system(room, four):
    report, out = four
    assert sorted(path.name for path in out.iterdir()) == [
        "leaderboard",
        "report.json",
        "report.md",
        "trn",
        "utterances.jsonl",
    ]
    assert read_json(out / "report.json", Report) == report
    rows = list(read_jsonl(out / "utterances.jsonl", UtteranceResult))
    utterances = DataSet(room.data).utterances("test")
    assert len(rows) == 4 * len(utterances) == 56
    for system in report.systems:
        own = [row for row in rows if row.system == system.name]
        # In the order of the data set, whatever order the batches had.
        assert [(row.id, row.reference) for row in own] == [(u.id, u.text) for u in utterances]
        assert sum(row.substitutions for row in own) == system.wer.substitutions
        assert sum(row.hits for row in own) == system.wer.hits
        recounted = count(
            [row.reference_normalised for row in own], [row.hypothesis_normalised for row in own]
        )
        assert rate(recounted) == system.wer.rate


def test_figures_name_their_rules(room, four):
    assert (four[0].normaliser.name, four[0].normaliser.version) == ("none", "1")
    report = compare(room.data, "test", str(room.base))
    english = get_normaliser("whisper-english")
    assert (report.normaliser.name, report.normaliser.version) == (english.name, english.version)


def test_the_report_knows_what_it_rests_on(room, four):
    report, _ = four
    assert report.data_digest == DataSet(room.data).card.digest
    assert (report.utterances, report.speakers) == (14, 6)
    assert report.interval.unit == "speaker"
    assert report.duration_s == pytest.approx(
        sum(row.duration for row in DataSet(room.data).utterances("test"))
    )
    for system in report.systems:
        assert system.real_time_factor == pytest.approx(system.seconds / report.duration_s)
        assert system.real_time_factor > 0
    base, tpa, head, full = report.systems
    assert base.digest == report.base_digest
    assert tpa.digest != head.digest
    assert (base.trained_parameters, base.size_bytes, base.train_seconds) == (None, None, None)
    assert tpa.trained_parameters > head.trained_parameters
    assert tpa.size_bytes > (room.tpa / "adapter" / "adapter_model.safetensors").stat().st_size
    assert full.size_bytes > tpa.size_bytes


def test_rates_carry_intervals_from_five_speakers_on(four):
    for system in four[0].systems:
        assert system.wer.low <= system.wer.rate <= system.wer.high


@pytest.mark.parametrize("speakers", [1, 4])
def test_rates_of_fewer_speakers_carry_none(room, tmp_path, speakers):
    data = write_data(tmp_path / "few", ["one two"] * 6, speakers=speakers)
    out = tmp_path / "out"
    report = compare(data, "test", str(room.base), out=out)
    assert (report.systems[0].wer.low, report.systems[0].wer.high) == (None, None)
    assert "fewer than five speakers" in (out / "report.md").read_text()


def test_without_speakers_utterances_are_drawn(room, tmp_path):
    data = write_data(tmp_path / "unnamed", ["one two"] * 6, speakers=None)
    report = compare(data, "test", str(room.base))
    assert (report.interval.unit, report.speakers) == ("utterance", None)
    assert report.systems[0].wer.low is not None


def test_empty_and_foreign_references_are_counted_not_fatal(room, tmp_path):
    texts = ["", "[laughs]", "倉庫の棚", "   ", "two words", "Ωμέγα"]
    out = tmp_path / "out"
    report = compare(write_data(tmp_path / "odd", texts), "test", str(room.base), out=out)
    assert report.empty_references == 3
    assert report.systems[0].wer.insertions > 0
    assert "3 of 6 references have no words" in (out / "report.md").read_text()


def test_numbers_joined_by_the_normaliser_are_noted(room, tmp_path):
    data = write_data(tmp_path / "digits", ["nine one oh two", "call seven six", "dock"] * 2)
    for normaliser, joined in (("whisper-english", True), ("whisper-basic", False)):
        out = tmp_path / normaliser
        compare(data, "test", str(room.base), out=out, plan=Plan(normaliser=normaliser))
        note = "whisper-english makes 8 words of the references' 16"
        assert (note in (out / "report.md").read_text()) is joined


def test_a_test_set_of_silence_alone_has_no_crash(room, tmp_path):
    report = compare(write_data(tmp_path / "mute", [""] * 6), "test", str(room.base))
    wer = report.systems[0].wer
    assert wer.reference_length == 0
    assert wer.rate == wer.insertions > 0


# What the user may get wrong


def test_a_missing_split_names_those_there_are(room):
    with pytest.raises(InputError, match=r"'dev'; it has: test \(14\)"):
        compare(room.data, "dev", str(room.base))


def test_an_unprepared_folder_says_how_to_prepare_it(room, tmp_path):
    with pytest.raises(InputError) as caught:
        compare(tmp_path, "test", str(room.base))
    assert "tpactl prepare" in caught.value.fix


def test_missing_audio_is_listed_before_anything_is_loaded(data):
    for name in ("audio/3.flac", "audio/7.flac"):
        (data / name).unlink()
    with pytest.raises(InputError, match="2 of 14 audio files") as caught:
        compare(data, "test", "no-such-base")
    assert [Path(line).name for line in caught.value.details] == ["3.flac", "7.flac"]


def test_other_audio_under_the_same_name_is_an_integrity_error(room, data):
    (data / "audio" / "3.flac").write_bytes((data / "audio" / "4.flac").read_bytes())
    with pytest.raises(IntegrityError, match="utt-3"):
        compare(data, "test", str(room.base))


def test_edited_references_are_an_integrity_error(room, data):
    rows = DataSet(data).utterances("test")
    card = (data / "dataset.json").read_bytes()
    write_rows(data, [msgspec.structs.replace(rows[0], text="better for us"), *rows[1:]])
    (data / "dataset.json").write_bytes(card)
    with pytest.raises(IntegrityError, match=r"dataset\.json"):
        compare(data, "test", str(room.base))


def test_the_wrong_base_is_refused_with_what_differs(room, tmp_path):
    other = talking_base(tmp_path / "other", seed=9)
    systems = [system_of_run(room.tpa, "tpa"), system_of_run(room.full, "full")]
    with pytest.raises(BaseError) as caught:
        compare(room.data, "test", str(other), systems)
    assert caught.value.problem.startswith("tpa, full: trained on another base")
    assert str(room.base) in caught.value.fix
    assert any("tensors differ" in line for line in caught.value.details)


def test_a_damaged_adapter_is_an_integrity_error(room, tmp_path):
    run = copy(room.tpa, tmp_path / "run")
    weights = run / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(IntegrityError):
        compare(room.data, "test", str(room.base), [system_of_run(run, "cut")])


def test_a_run_without_its_adapter_is_bad_input(room, tmp_path):
    run = copy(room.tpa, tmp_path / "run")
    (run / "adapter" / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"adapter/adapter_config\.json is missing"):
        system_of_run(run, "x")


def test_an_unknown_device_or_normaliser_is_refused(room):
    with pytest.raises(UsageError, match="normaliser"):
        compare(room.data, "test", str(room.base), plan=Plan(normaliser="mine"))
    with pytest.raises((UsageError, MachineError), match="device"):
        compare(room.data, "test", str(room.base), device="cuda:9")


def test_an_existing_folder_is_refused_before_the_work_and_replaced_by_force(room, tmp_path):
    out = tmp_path / "out"
    compare(room.data, "test", str(room.base), out=out)
    with pytest.raises(InputError, match="exists already"):
        compare(tmp_path / "nowhere", "test", "no-such-base", out=out)
    again = compare(
        room.data, "test", str(room.base), [system_of_run(room.tpa, "t")], out, force=True
    )
    assert read_json(out / "report.json", Report) == again


def test_force_never_replaces_what_is_no_report(room, tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(InputError, match="no report"):
        compare(room.data, "test", str(room.base), out=tmp_path, force=True)
    assert (tmp_path / "thesis.doc").exists()


def test_an_interrupted_evaluation_leaves_no_report(room, tmp_path):
    def stop(stage, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(room.data, "test", str(room.base), out=tmp_path / "out", on_progress=stop)
    # What was heard is kept for --resume; a report there is not.
    assert [path.name for path in tmp_path.iterdir()] == ["out.unfinished"]


def test_progress_counts_every_model_once(room):
    seen = []
    systems = [system_of_run(room.tpa, "tpa"), system_of_run(room.full, "full")]
    compare(room.data, "test", str(room.base), systems, on_progress=lambda *step: seen.append(step))
    assert seen[0] == ("recognise", 0, 28)
    assert seen[-1] == ("recognise", 28, 28)


# Leaks


def test_a_run_that_trained_on_the_test_is_reported(room, tmp_path):
    rows = DataSet(room.data).utterances("test")
    run = write_run(
        tmp_path / "run",
        room.base,
        speakers=["spk-0", "elsewhere"],
        texts=[rows[1].text.upper() + "!"],
        audio=[rows[2].audio_digest],
    )
    systems = [system_of_run(room.tpa, "clean"), system_of_run(run, "leaky")]
    out = tmp_path / "out"
    report = compare(room.data, "test", str(room.base), systems, out)
    (leak,) = report.leaks
    assert leak.system == "leaky"
    # Speaker 0 says utterances 0, 6 and 12.
    assert (leak.speakers, leak.same_text, leak.same_audio, leak.utterances) == (1, 1, 1, 5)
    assert "leaky was trained on part of this test: 5 utterances" in (out / "report.md").read_text()


# Names


def test_names_are_the_folders_and_grow_only_where_they_must():
    paths = [Path("/a/week1/run"), Path("/a/week2/run"), Path("/b/wide")]
    assert labels(paths) == ["week1/run", "week2/run", "wide"]


@pytest.mark.parametrize(
    ("paths", "given", "problem"),
    [
        (["/a/run", "/a/run"], [], "both called 'run'"),
        (["/a/x", "/a/y"], ["one"], "1 names for 2 runs"),
        (["/a/x", "/a/y"], ["one", "one "], "both called 'one'"),
        (["/a/x"], [" "], "a name is empty"),
    ],
)
def test_names_that_cannot_tell_runs_apart_are_refused(paths, given, problem):
    with pytest.raises(UsageError, match=problem):
        labels([Path(path) for path in paths], given)


def test_the_name_of_the_base_is_taken(room):
    with pytest.raises(UsageError, match=r"the base and .*tpa are both called 'base'"):
        compare(room.data, "test", str(room.base), [system_of_run(room.tpa, "base")])
