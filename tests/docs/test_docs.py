"""What the documentation says is what the program does, and every link leads somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from command_tree import commands

from tpactl import __version__, errors
from tpactl.cli import help as help_page
from tpactl.cli.app import INTERRUPTED, READER_GONE, TERMINATED

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "examples").glob("*.md"),
        *(ROOT / "templates").rglob("*.md"),
        *DOCS.rglob("*.md"),
    ]
)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
COMMANDS = commands()
README = (ROOT / "README.md").read_text()
TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/pytest"
START_COMMAND = "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/tpactl quickstart"


def command_lines(page: Path) -> list[str]:
    """Return the ``tpactl ...`` lines of a page's code blocks, comments and continuations gone."""
    blocks = re.findall(r"^```(?!text|json)\w*\n(.*?)^```", page.read_text(), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [
        line.removeprefix("$ ").partition(" #")[0].strip()
        for line in lines
        if line.removeprefix("$ ").startswith("tpactl ")
    ]


def test_the_pages_are_found():
    assert len(PAGES) > 15
    assert sum(len(command_lines(page)) for page in PAGES) > 20


def test_the_command_reference_is_fresh(monkeypatch):
    path = DOCS / "generate_cli_reference.py"
    spec = importlib.util.spec_from_file_location("generate_cli_reference", path)
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    monkeypatch.setattr(help_page, "out", help_page.out)  # put back what the generator changes
    assert (DOCS / "cli.md").read_text() == generator.page(), f"run: python {path}"


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_every_command_is_in_the_reference_and_the_readme(path):
    assert f"\n## tpactl {' '.join(path)}\n" in (DOCS / "cli.md").read_text()
    assert f"tpactl {path[0]}" in README


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_in_the_documentation_are_right(page):
    for line in command_lines(page):
        words = shlex.split(line)[1:]
        path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
        if path[0].startswith("-"):
            path = ()
        assert path in COMMANDS, f"{line}: no such command"
        known = {name for option in COMMANDS[path].params for name in option.opts} | {"--help"}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= known, f"{line}: no option {given - known}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    lost = [
        target
        for target in targets
        if "://" not in target and not target.startswith("#")
        and not (page.parent / target.partition("#")[0]).exists()
    ]  # fmt: skip
    assert lost == []


def test_the_index_links_every_page():
    linked = set(re.findall(r"\]\(([^)#]+)\)", (DOCS / "index.md").read_text()))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {"index.md"}
    assert pages <= linked


def test_every_exit_code_is_explained():
    codes = {kind.exit_code for kind in errors.TpactlError.__subclasses__()}
    codes |= {0, 1, INTERRUPTED, READER_GONE, TERMINATED}
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "errors.md").read_text(), re.M)
    assert sorted(codes) == [int(row) for row in rows]


def test_the_readme_starts_with_the_line_that_does_everything():
    first_screen = "\n".join(README.splitlines()[:30])
    assert START_COMMAND in first_screen
    assert TEST_COMMAND in README


def test_ci_runs_the_readmes_own_test_command():
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text()
    assert "bash .ci/run" in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_pictures_load_nothing_from_elsewhere():
    pictures = sorted((DOCS / "images").glob("*.svg"))
    assert len(pictures) >= 2
    for picture in pictures:
        text = picture.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text, picture.name


def test_the_changelog_knows_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[(Unreleased|{re.escape(__version__)})\]", text, re.M)
