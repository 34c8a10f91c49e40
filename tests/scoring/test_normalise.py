import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpactl.errors import UsageError
from tpactl.scoring.normalise import DEFAULT, NORMALISERS, fitting, get_normaliser


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Twenty-three  boxes, please.", "23 boxes please"),
        ("The colour isn't grey", "the color is not gray"),
        # Known quirks of these rules: whoever reads a figure should be able to find them here.
        ("oh no", "0 no"),
        ("O'Brien", "0 brien"),
        ("john's", "john is"),
        ("[noise] dock (sighs) four", "dock 4"),
        ("?! [noise]", ""),
    ],
)
def test_whisper_english(text, expected):
    assert get_normaliser("whisper-english")(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Café  Müller, 3!", "café müller 3"),
        ("हिन्दी", "हिन्दी"),
        ("x\u0304y", "x\u0304y"),
        ("倉庫へ。", "倉庫へ"),
    ],
)
def test_whisper_basic_keeps_diacritics(text, expected):
    assert get_normaliser("whisper-basic")(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("倉庫の 棚、3番。", "倉庫の棚3番"),
        ("ＡＢＣ　１２", "abc12"),
        ("ｶﾞｰﾄﾞ", "ガード"),
        ("か\u3099", "が"),
        ("佐々木「コーヒー」・〜", "佐々木コーヒー"),
        ("你好，世界！", "你好世界"),
        ("API を 使う", "apiを使う"),
        ("。、！", ""),
    ],
)
def test_cjk_compares_characters(text, expected):
    assert get_normaliser("cjk")(text) == expected


@pytest.mark.parametrize(
    ("references", "name"),
    [
        (["倉庫の棚", "API を使う"], "cjk"),
        (["สวัสดีครับ"], "whisper-basic"),
        (["the dock", "倉庫"], "whisper-english"),
        (["", "123"], "whisper-english"),
        ([], "whisper-english"),
        (["안녕하세요 세계"], "whisper-english"),
    ],
)
def test_the_script_chooses_the_rules(references, name):
    assert fitting(references) == name


def test_none_touches_white_space_only():
    assert get_normaliser("none")(" A\u00a0b,\t C. \n") == "A b, C."


@given(st.text(), st.sampled_from(sorted(NORMALISERS)))
def test_every_result_has_single_spaces_and_no_others(text, name):
    result = get_normaliser(name)(text)
    assert result == " ".join(result.split())


def test_every_normaliser_has_its_name_and_a_version():
    assert set(NORMALISERS) == {"whisper-english", "whisper-basic", "cjk", "none"}
    assert DEFAULT in NORMALISERS
    for name in NORMALISERS:
        normaliser = get_normaliser(name)
        assert normaliser.name == name
        assert normaliser.label == f"{name}@{normaliser.version}"
        library = r"\+whisper-normalizer-\d+\.\d+\.\d+" if "whisper" in name else ""
        assert re.fullmatch(r"\d+" + library, normaliser.version)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError) as caught:
        get_normaliser("whisper")
    assert "'whisper'" in caught.value.problem
    assert all(name in caught.value.fix for name in NORMALISERS)
