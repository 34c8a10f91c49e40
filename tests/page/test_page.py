"""The page from its files: what it says and leaves out; equal inputs give equal bytes."""

from __future__ import annotations

import re
import shutil
import string
from html import unescape

import msgspec
import pytest

from tests.gate.test_gate import counted, judged, policy_file
from tests.page import reports
from tests.page.reports import HOSTILE, SENTENCES, leak, write_data, write_report
from tpactl.errors import InputError, UsageError
from tpactl.eval.page import page as page_file
from tpactl.eval.page import recordings as recordings_file
from tpactl.eval.page.alignment import align
from tpactl.eval.page.axes import linear, logarithmic
from tpactl.eval.page.page import write_page
from tpactl.eval.page.words import LANGUAGES, Words, texts
from tpactl.formats.files import read_json, write_json
from tpactl.formats.report import Report
from tpactl.gate.gate import gate
from tpactl.gate.rules import RULES
from tpactl.scoring.wer import count


def text_of(folder, **how):
    """Return the words a reader sees in the page of ``folder``, script and style left out."""
    html = write_page(folder, **how).path.read_text()
    html = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def section(folder, anchor, **how):
    html = write_page(folder, **how).path.read_text()
    found = re.search(rf'<section id="{anchor}".*?</section>', html, re.S)
    return found and " ".join(unescape(re.sub(r"<[^>]*>", " ", found.group())).split())


@pytest.mark.parametrize("language", LANGUAGES)
def test_equal_inputs_give_equal_bytes_wherever_they_lie(tmp_path, language):
    data = write_data(tmp_path / "data", SENTENCES)
    first = write_report(tmp_path / "a", data_path=str(data))
    second = shutil.copytree(first, tmp_path / "elsewhere")
    pages = [write_page(f, language=language).path.read_bytes() for f in (first, second, first)]
    assert pages[0] == pages[1] == pages[2]
    assert b"audio/ogg" in pages[0]


def test_both_languages_have_the_same_texts_with_the_same_values():
    english, japanese = (texts(language) for language in LANGUAGES)
    assert english.keys() == japanese.keys()
    assert len(english) > 150

    def values(text):
        parts = text.values() if isinstance(text, dict) else [text]
        return {name for part in parts for _, name, _, _ in string.Formatter().parse(part) if name}

    for key in english:
        # English may leave the number out of "one recording".
        assert values(english[key]) == values(japanese[key]), key
        assert isinstance(english[key], dict) == isinstance(japanese[key], dict), key


def test_the_japanese_page_has_no_english_sentence_left(tmp_path):
    shown = text_of(write_report(tmp_path, leaks=[leak()]), language="ja")
    english = {
        part
        for text in texts("en").values()
        for part in (text.values() if isinstance(text, dict) else [text])
        if len(part) > 12 and "{" not in part
    }
    assert len(english) > 60
    assert {part for part in english if part in shown} == set()


def test_every_text_is_used():
    folder = page_file._TEMPLATES.parent
    sources = "".join(
        path.read_text() for pattern in ("**/*.py", "templates/*") for path in folder.glob(pattern)
    )
    families = ("length_", "kind_", "metric_", "short_", "unit_", "column_", "stress_", "x_",
                "show_", "sort_", "gate")  # fmt: skip
    unused = [
        key for key in texts("en") if not re.search(rf"\b{key}\b", sources)
        and not key.startswith(families)
    ]  # fmt: skip
    assert unused == []


def test_an_unknown_language_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="'fr'"):
        write_page(write_report(tmp_path), language="fr")


def test_the_words_of_a_few_recordings_are_told_of_once_and_leave_the_headline(tmp_path):
    slight = {"utterances": 4, "speakers": 0, "same_text": 4, "same_audio": 0}
    shared = [
        msgspec.structs.replace(leak(name), **slight, data=data)
        for name in ("picking", "today")
        for data in ("test", "general")
    ]
    page = write_report(tmp_path, leaks=shared)
    record = read_json(tmp_path / "report.json", Report)
    many = msgspec.structs.replace(
        record, utterances=1000, general=msgspec.structs.replace(record.general, utterances=1000)
    )
    write_json(tmp_path / "report.json", many)
    for language, words in (("en", "The words of 4 of 1000 recordings"), ("ja", "1000件中4件")):
        shown = text_of(page, language=language)
        assert shown.count(words) == 1
    shown = text_of(page)
    assert "in the training of picking; today, spoken by others" in shown
    assert "The words of 4 recordings of the general speech" in shown
    assert "tested on what it was trained on" not in shown


def test_the_summary_says_what_was_measured(tmp_path):
    summary = section(write_report(tmp_path), "summary")
    assert "30 min of speech (6 recordings) by 6 speakers" in summary
    assert "today (a packaged adapter, in use today)" in summary
    assert "picking gets 18.0 wrong; today gets 30.0 wrong. That is 40% fewer errors." in summary
    assert "picking gets 18.0 wrong; base gets 42.0 wrong. That is 57% fewer errors." in summary
    assert "(full) reaches 15.0%, 3.0 points lower. The adapter wins 89% of that gain." in summary
    assert "Against base: over 99.9% of resampled tests favour picking." in summary
    assert "On general speech (10 min) it is worse than the base: +2.1 points." in summary
    assert "weakest on channel = forklift radio: 30.0% wrong" in summary
    assert "1.9 MB to store (475,000 trained parameters)" in summary
    assert "For 20 departments: 69.0 MB in all, base included, instead of 651 MB" in summary


@pytest.mark.parametrize(
    ("change", "headline"),
    [
        ({}, "picking is better than today"),
        ({"incumbent": None}, "picking is better than base"),
        ({"leaks": [leak()]}, "picking was tested on what it was trained on"),
        ({"comparisons": []}, "picking makes fewer errors than today"),
        (
            {
                "comparisons": [
                    reports.compared("picking", "today", "incumbent", -0.04, p_value=0.3)
                ]
            },
            "picking may be better than today, but this test does not show it",
        ),
        (
            {
                "comparisons": [
                    reports.compared(
                        "picking", "today", "incumbent", -0.1, p_value=None, probability=None
                    )
                ]
            },
            "picking makes fewer errors than today",
        ),
    ],
)
def test_the_headline_claims_no_more_than_the_tests_show(tmp_path, change, headline):
    html = write_page(write_report(tmp_path, **change)).path.read_text()
    assert re.search(r"<h1><bdi>(.*?)</bdi></h1>", html).group(1) == headline


def test_a_worse_system_is_called_worse(tmp_path):
    made = reports.compared("today", "base", "base", 0.1)
    report = reports.full_report(comparisons=[made], incumbent=None)
    base, today = report.systems[0], report.systems[1]
    worse = msgspec.structs.replace(today, wer=reports.rate(600, 1000))
    write_report(tmp_path, systems=[base, worse], comparisons=[made], incumbent=None, slicings=[],
                 general=None, stress=None, glossary=None, costs=None, worst_slices=[])  # fmt: skip
    shown = text_of(tmp_path)
    assert "today is worse than base" in shown
    assert "That is 43% more errors." in shown


ALL_SECTIONS = ["summary", "rates", "comparisons", "slices", "general", "terms", "stress", "costs",
                "training", "confusions", "worst", "browser", "method"]  # fmt: skip


def test_a_full_report_has_every_section_and_a_bare_one_only_its_own(tmp_path):
    def sections(folder):
        return re.findall(r'<section id="(\w+)"', write_page(folder).path.read_text())

    assert sections(write_report(tmp_path / "full")) == ALL_SECTIONS
    systems = [
        msgspec.structs.replace(system, curve=[]) for system in reports.full_report().systems
    ]
    bare = write_report(
        tmp_path / "bare", systems=systems, comparisons=[], general=None, slicings=[],
        worst_slices=[], glossary=None, stress=None, costs=None, incumbent=None, full=None,
        schema_version=1,
    )  # fmt: skip
    rest = ["summary", "rates", "costs", "confusions", "worst", "browser", "method"]
    assert sections(bare) == rest
    assert "General speech was not measured" in text_of(bare)


def test_a_report_of_the_base_alone(tmp_path):
    base = reports.full_report().systems[0]
    write_report(tmp_path, systems=[base], comparisons=[], general=None, slicings=[],
                 worst_slices=[], glossary=None, stress=None, costs=None, incumbent=None,
                 full=None)  # fmt: skip
    assert "How well base hears this department" in text_of(tmp_path)


def test_every_plot_has_a_name_and_a_table_behind_it(tmp_path):
    html = write_page(write_report(tmp_path)).path.read_text()
    figures = re.findall(r"<figure>.*?</figure>", html, re.S)
    assert len(figures) == 11
    for figure in figures:
        label = re.search(r'role="img" aria-label="([^"]{20,})"', figure)
        assert label, figure[:200]
        assert figure.count("<table>") == 1
    assert "42.0% (34.4–52.5)" in figures[0]


def test_a_report_by_character_is_aligned_by_character(tmp_path):
    write_report(tmp_path, metric="cer")
    html = write_page(tmp_path, language="ja").path.read_text()
    assert "文字誤り率（CER）" in html
    assert '<bdi class="ref">m</bdi>' in html


def test_the_alignment_is_the_one_that_was_counted():
    pairs = [("a b c d", "a x c"), ("", "a b"), ("a b", ""), ("one two two", "two two three")]
    for reference, hypothesis in pairs:
        kinds = [pair.kind for pair in align(reference, hypothesis)]
        counted = count([reference], [hypothesis])[0]
        assert kinds.count("substitution") == counted.substitutions
        assert kinds.count("deletion") == counted.deletions
        assert kinds.count("insertion") == counted.insertions
        assert kinds.count("hit") == counted.hits


def test_players_are_small_and_stay_within_the_budget(tmp_path, monkeypatch):
    data = write_data(tmp_path / "data", SENTENCES)
    folder = write_report(tmp_path / "r", data_path=str(data))
    whole = write_page(folder)
    assert whole.recordings == len(SENTENCES)
    size = len(re.search(r"data:audio/ogg;base64,[^\"]*", whole.path.read_text()).group())
    assert size < 2 * 32_000 / 4  # a quarter of the samples' own bytes, in base64
    monkeypatch.setattr(recordings_file.recordings, "__defaults__", (2 * size + size // 2,))
    limited = write_page(folder)
    assert 0 < limited.recordings <= 3
    assert "no player, to keep this page small" in text_of(folder)


def test_no_audio_opens_no_recording(tmp_path, monkeypatch):
    data = write_data(tmp_path / "data", SENTENCES)
    folder = write_report(tmp_path / "r", data_path=str(data))
    monkeypatch.setattr(page_file, "recordings", None)
    made = write_page(folder, audio=False)
    assert made.recordings == 0
    assert "<audio" not in made.path.read_text()
    assert "Recordings were left out of this page on request." in text_of(folder, audio=False)


def test_recordings_that_are_gone_or_changed_get_no_player(tmp_path):
    data = write_data(tmp_path / "data", SENTENCES)
    folder = write_report(tmp_path / "r", data_path=str(data))
    shutil.copy(data / "audio" / "0.flac", data / "audio" / "1.flac")
    (data / "audio" / "2.flac").write_bytes(b"")
    assert write_page(folder).recordings == len(SENTENCES) - 2
    assert "2 recordings are no longer where they were evaluated" in text_of(folder)
    shutil.rmtree(data)
    assert write_page(folder).recordings == 0


def test_thousands_of_utterances_make_a_small_page(tmp_path):
    texts_ = [SENTENCES[number % len(SENTENCES)] for number in range(2000)]
    made = write_page(write_report(tmp_path, texts_))
    assert made.utterances == page_file.MOST_LISTED
    assert made.size_bytes < 2_000_000
    assert "400 of the 2000 recordings" in text_of(tmp_path)


def test_hostile_texts_are_escaped_everywhere(tmp_path):
    write_report(tmp_path, HOSTILE, speaker="<b>x", base_ref="<script>alert(1)</script>")
    html = write_page(tmp_path).path.read_text()
    assert html.count("<script") == 2  # the page's data and its own script
    assert "<img" not in html
    assert "<b>x" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_words_of_right_to_left_texts_stand_from_right_to_left(tmp_path):
    write_report(tmp_path, ["مرحبا بالعالم", "hello مرحبا", "12 مرحبا"])
    html = write_page(tmp_path).path.read_text()
    directions = re.findall(r'"direction":"(\w+)"', html)
    assert directions == ["rtl", "ltr", "rtl"]
    assert '<div class="aligned" dir="rtl"' in html


@pytest.mark.parametrize("name", ["report.json", "utterances.jsonl"])
def test_a_damaged_report_is_an_input_error_and_leaves_no_page(tmp_path, name):
    write_report(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        write_page(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_a_report_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=re.escape("report.json")):
        write_page(tmp_path)


def test_the_page_can_be_about_another_system(tmp_path):
    write_report(tmp_path)
    assert "full was not" not in text_of(tmp_path, system="full")
    assert "<title>Evaluation of full</title>" in (tmp_path / "report.html").read_text()
    with pytest.raises(UsageError, match="no system 'fulll'"):
        write_page(tmp_path, system="fulll")


def test_axes_hold_their_values_and_have_round_marks():
    axis = linear([0.07, 0.43], lambda value: f"{value:.2f}")
    assert [tick.label for tick in axis.ticks] == ["0.00", "0.10", "0.20", "0.30", "0.40", "0.50"]
    assert axis.at(0.25) == 50.0
    assert axis.at(9) == 100.0
    signed = linear([-0.02, 0.05], lambda value: f"{value:.2f}")
    assert signed.low < 0 < signed.high
    powers = logarithmic([2e6, 3e7], lambda value: f"{value:.0e}")
    assert [tick.label for tick in powers.ticks] == ["1e+06", "1e+07", "1e+08"]
    assert powers.at(1e7) == 50.0


def test_numbers_carry_their_units():
    t = Words("en")
    assert (t.percent(0.1234), t.size(1_888_152), t.size(31e6)) == ("12.3%", "1.9 MB", "31.0 MB")
    assert (t.duration(4.25), t.duration(90), t.duration(7200)) == ("4.2 s", "1.5 min", "2 h")
    assert t.points(-0.021) == "−2.1 points"
    assert Words("ja").duration(90) == "1.5分"


def test_the_gates_decision_is_on_the_page_and_says_whom_it_is_about(tmp_path):
    folder = counted(tmp_path / "report")
    gate(folder, policy_file(tmp_path, max_error_rate=0.9, max_package_mb=1))
    shown = section(folder, "gate")
    assert "picking fails 1 rule of the policy." in shown
    assert "To store beside the base fails 1.9 MB at most 1.0 MB" in shown
    assert "picking は、ポリシーの1件の基準を満たしていません。" in section(
        folder, "gate", language="ja"
    )
    gate(folder, policy_file(tmp_path, max_error_rate=0.9), system="today")
    assert "today meets every rule of the policy." in section(folder, "gate")
    assert "<title>Evaluation of today</title>" in (folder / "report.html").read_text()


def test_every_rule_has_a_name_in_both_languages():
    easy = {"relative": 0, "probability": 0}
    names = set()
    for rule in RULES:
        found = judged(rule, easy if rule.startswith("improvement") else 1)
        for result in found if isinstance(found, list) else [found]:
            names.add(result.rule.replace(".", "_"))
    assert len(names) == len(RULES) + 2
    for language in LANGUAGES:
        assert {f"gate_rule_{name}" for name in names} <= texts(language).keys()


def test_a_decision_on_another_report_is_not_shown(tmp_path):
    folder = counted(tmp_path / "report")
    gate(folder, policy_file(tmp_path, max_error_rate=0.9))
    (folder / "utterances.jsonl").write_text("")
    with pytest.raises(InputError, match="does not belong"):
        write_page(folder)


def test_the_report_command_writes_the_page_elsewhere_and_in_japanese(tpactl, tmp_path):
    folder = write_report(tmp_path / "r")
    out = tmp_path / "seite.html"
    done = tpactl("report", folder, "--lang", "ja", "--no-audio", "--out", out)
    assert done.exit_code == 0
    assert '<html lang="ja">' in out.read_text()
    assert done.out.startswith(f"wrote {out}: ")
    assert not (folder / "report.html").exists()
    again = tpactl("report", folder, "--json")
    assert again.json["path"] == str(folder / "report.html")
    assert again.json["utterances"] == len(SENTENCES)
    assert tpactl("report", folder, "--lang", "xx").exit_code == 2
    assert tpactl("report", tmp_path).exit_code == 3
