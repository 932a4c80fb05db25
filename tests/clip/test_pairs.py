"""clip/pairs.py: tables of captions, and those that are none."""

import pytest
from ultralytics.utils import LOGGER

from ultralytics_diffattn.clip import pairs
from ultralytics_diffattn.errors import MissingFileError, UserError


def test_table(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(LOGGER, "warning", warnings.append)
    table = tmp_path / "t.csv"
    table.write_text('\ufeffcaption,image\n"a cat, grey",a.png\n again ,a.png\n,b.png\na dog,\n', encoding="utf-8")
    files, captions = pairs.read(table)
    assert files == [tmp_path / "a.png"] * 2
    assert captions == ["a cat, grey", "again"]
    assert any("2 rows without an image or a caption" in str(line) for line in warnings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,text\na,b\n", "has the columns image, text, but not caption"),
        (b"", "has the columns none, but not caption and image"),
        (b"image,caption\n", "holds no rows"),
        (b"image,caption\n\xff\xfe,\x00\n", "no CSV in UTF-8"),
    ],
)
def test_bad_tables(content, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        pairs.read(tmp_path / "t.csv")


def test_no_table(tmp_path):
    with pytest.raises(MissingFileError, match="takes a CSV with the columns image and caption"):
        pairs.read(tmp_path / "none.csv")
