from pathlib import Path

import pytest

from tpactl.errors import InputError
from tpactl.scoring.normalise import get_normaliser

DOCK = """\
name: dock
replace:
  - {pattern: '\\bbay (\\d+)\\b', by: 'bay-\\1'}
  - {pattern: '\\(.*?\\)'}
case: lower
punctuation: remove
keep: "-'"
spelling: {colour: color, uh: "", gonna: going to}
"""


def write(folder: Path, content: str, name: str = "rules.yaml") -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_rules_apply_in_their_order(tmp_path):
    rules = get_normaliser(write(tmp_path, DOCK))
    assert rules("Bay 3: UH, the Colour isn't (laughs) gonna") == "bay 3 the color isn't going to"
    # The replacement comes before the case, so its pattern sees the text as it was written.
    assert rules("bay 3!") == "bay-3"


def test_the_digest_of_the_content_is_the_version(tmp_path):
    first = get_normaliser(write(tmp_path, DOCK))
    same = get_normaliser(write(tmp_path, "# a comment\n" + DOCK, "other.yml"))
    other = get_normaliser(write(tmp_path, DOCK.replace("color", "hue"), "third.yaml"))
    assert first.version.startswith("sha256:")
    assert first.label == same.label == f"dock@{first.version}"
    assert other.version != first.version


def test_a_file_without_a_name_is_called_by_its_own(tmp_path):
    assert get_normaliser(write(tmp_path, "case: upper", "shout.yaml")).name == "shout"
    assert get_normaliser(write(tmp_path, "{}"))(" A  b ") == "A b"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("cases: lower", "cases"),
        ("case: small", "small"),
        ("", "no rules"),
        ("- a", "no rules"),
        ("a: [", "no rules"),
        ("spelling: {1: 2}", "no rules"),
    ],
)
def test_what_is_no_rules_is_refused(tmp_path, content, problem):
    with pytest.raises(InputError, match=problem):
        get_normaliser(write(tmp_path, content))


def test_all_faulty_expressions_are_told_at_once(tmp_path):
    content = "replace: [{pattern: '('}, {pattern: a}, {pattern: b, by: '\\\\2'}]"
    with pytest.raises(InputError, match="2 of 3") as caught:
        get_normaliser(write(tmp_path, content.replace("\\\\", "\\")))
    assert "'('" in caught.value.details[0]
    assert "'b'" in caught.value.details[1]


def test_binary_and_absent_files_are_refused(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("x.yaml", "absent.yaml"):
        with pytest.raises(InputError):
            get_normaliser(str(tmp_path / name))
