"""clip/tokens.py: the reference's tokens, and texts that do not fit."""

import json

import pytest

from tests.places import SHARED

pytest.importorskip("open_clip")
from ultralytics_diffattn.clip.tokens import tokenize
from ultralytics_diffattn.errors import UserError

FILE = SHARED / "vectors" / "diffclip" / "tokenizer.json"


@pytest.mark.skipif(not FILE.is_file(), reason=f"the reference's tokens are not at {FILE}")
def test_reference():
    rows = json.loads(FILE.read_text())
    assert len(rows) > 5
    assert tokenize([row["text"] for row in rows]).tolist() == [row["tokens"] for row in rows]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat", [49406, 320, 2368, 49407]),
        ("A  CAT\n", [49406, 320, 2368, 49407]),  # case and spaces do not matter
        ("", [49406, 49407]),
    ],
)
def test_padding(text, expected):
    for length in (8, 77):
        assert tokenize(text, length).tolist() == [expected + [0] * (length - len(expected))]


def test_a_text_that_is_too_long_is_cut_with_a_warning(monkeypatch):
    from ultralytics_diffattn.clip import tokens

    warnings = []
    monkeypatch.setattr(tokens.LOGGER, "warning", warnings.append)
    rows = tokenize(["a cat", "cat " * 20, "dog " * 6], 8)
    assert rows[1].tolist() == [49406] + [2368] * 7
    assert rows[2].tolist()[-1] == 49407  # just fits
    (message,) = warnings
    assert "1 of 3 texts are longer than 8 tokens" in message
    assert "'cat cat" in message


def test_open_clip_agrees():
    """Where nothing is cut, and where the end token stays."""
    import open_clip

    texts = ["a photo of a traffic light", "naïve — café", "it's 3 o'clock 🙂", "x" * 30]
    assert tokenize(texts).equal(open_clip.SimpleTokenizer()(texts))
    long = [*texts, "cat " * 100]
    assert tokenize(long, keep_end=True).equal(open_clip.SimpleTokenizer()(long))
    assert not tokenize(long).equal(open_clip.SimpleTokenizer()(long))


@pytest.mark.parametrize(
    ("texts", "message"),
    [([], "there are no texts"), (["cat", 3], "3 is int"), ([None], "None is NoneType")],
)
def test_bad_input(texts, message):
    with pytest.raises(UserError, match=message):
        tokenize(texts)
