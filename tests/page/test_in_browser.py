"""The page as people meet it: light, dark, narrow, in Japanese, by keyboard, on paper, attacked."""

from __future__ import annotations

import pytest

from tests.page.browser import PHONE, SCHEMES, WIDE, Visit, browser
from tests.page.reports import HOSTILE, SENTENCES, leak, write_data, write_report
from tpactl.eval.page.page import write_page


@pytest.fixture(scope="module")
def running():
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return a full page in each language, with sound and a leak."""
    folder = tmp_path_factory.mktemp("pages")
    data = write_data(folder / "data", SENTENCES, seconds=0.5)
    made = {}
    for language in ("en", "ja"):
        report = write_report(folder / language, data_path=str(data), leaks=[leak()])
        made[language] = write_page(report, language=language).path
    return made


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = write_report(tmp_path_factory.mktemp("hostile"), HOSTILE, speaker="<b>'\"")
    return write_page(folder).path


@pytest.fixture
def visit(running):
    opened = []

    def open_page(*arguments, **how):
        opened.append(Visit(running, *arguments, **how))
        return opened[-1]

    yield open_page
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    ("language", "width", "scheme"),
    [
        ("en", WIDE, "light"),
        ("en", PHONE, "dark"),
        ("ja", WIDE, "dark"),
        ("ja", PHONE, "light"),
    ],
)
def test_axe_finds_no_violation(visit, pages, language, width, scheme):
    one = visit(pages[language], width=width, scheme=scheme)
    one.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert one.violations() == []
    assert one.complaints == []


def test_axe_would_find_one(visit, pages):
    one = visit(pages["en"])
    one.page.evaluate("document.querySelector('label[for=b-text]').remove()")
    assert any("b-text" in found for found in one.violations())


@pytest.mark.parametrize("width", [PHONE, WIDE])
def test_nothing_is_wider_than_the_screen(visit, pages, hostile, width):
    for file in (*pages.values(), hostile):
        one = visit(file, width=width)
        assert one.page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_differ_and_both_are_readable(visit, pages):
    grounds = {
        visit(pages["en"], scheme=scheme).page.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in SCHEMES
    }
    assert len(grounds) == 2


def test_the_page_asks_for_nothing_but_itself(visit, pages):
    one = visit(pages["en"])
    one.page.wait_for_timeout(200)
    others = [url for url in one.requests if not url.startswith(("file:", "data:"))]
    assert (len(one.requests) > 0, others) == (True, [])
    assert len([url for url in one.requests if url.startswith("file:")]) == 1


def test_hostile_transcripts_are_shown_and_never_run(running, hostile):
    one = Visit(running, hostile)
    one.page.wait_for_selector("#b-list li")
    assert one.page.evaluate("window.hacked") is None
    shown = one.page.inner_text("#b-list")
    for text in HOSTILE[:2]:
        assert text in shown
    assert "{{ 7 * 7 }}" in shown
    assert one.page.evaluate("document.querySelectorAll('#browser img, #worst img').length") == 0
    assert one.complaints == []
    one.close()


def test_the_policy_of_the_page_stops_other_scripts(running, pages):
    context = running.new_context()
    page = context.new_page()
    page.goto(pages["en"].as_uri())
    assert page.locator("#b-list li").count() > 0  # its own script ran
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.hacked = 1';"
        " document.body.append(s); }"
    )
    assert page.evaluate("window.hacked") is None
    context.close()


def test_search_filter_and_sort(visit, pages):
    page = visit(pages["en"]).page
    count = page.locator("#b-list > li")
    assert count.count() == len(SENTENCES)
    page.fill("#b-text", "flange")
    assert count.count() == 2
    assert page.inner_text("#b-count") == "2 recordings"
    page.fill("#b-text", "")
    page.select_option("#b-speaker", "ann 3")
    assert count.count() == 1
    page.select_option("#b-speaker", "")
    page.select_option("#b-show", "better")
    assert 0 < count.count() < len(SENTENCES) + 1
    page.select_option("#b-show", "worse")
    assert count.count() == 0
    assert page.inner_text("#b-count") == "0 recordings"
    page.select_option("#b-show", "all")
    page.select_option("#b-sort", "order")
    assert "utt-00000" in count.first.inner_text()
    page.select_option("#b-sort", "errors")
    errors = [
        int(text.split()[0])
        for text in page.locator("#b-list > li .heard:nth-of-type(5) .system").all_inner_texts()
        if text[0].isdigit()
    ]
    assert errors == sorted(errors, reverse=True)


def test_everything_works_by_keyboard(visit, pages):
    page = visit(pages["en"]).page
    focused = "document.activeElement.innerText || document.activeElement.id"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to the report"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "b-text"
    page.keyboard.type("jk")  # letters, not commands
    assert page.input_value("#b-text") == "jk"
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.press("Delete")
    page.keyboard.press("Escape")
    first = page.locator("#b-list > li").nth(0).inner_text()
    second = page.locator("#b-list > li").nth(1).inner_text()
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.innerText") == first
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.innerText") == second
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.innerText") == first


def test_the_players_hold_sound(visit, pages):
    page = visit(pages["en"]).page
    players = page.locator("#worst audio")
    assert players.count() == len(SENTENCES)
    page.wait_for_function("document.querySelector('#worst audio').readyState >= 1")
    assert page.evaluate("document.querySelector('#worst audio').duration") == pytest.approx(
        0.5, abs=0.05
    )


def test_on_paper_the_colours_are_those_of_paper_and_the_list_stays_away(visit, pages):
    page = visit(pages["en"], scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#browser").is_hidden()
    assert page.locator("#worst audio").first.is_hidden()
    assert page.locator("#worst li").first.is_visible()
    assert len(page.pdf(format="A4")) > 10_000
