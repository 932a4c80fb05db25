"""pictures.py: pictures are written one by one, and what is drawn is what was selected."""

from types import GeneratorType

import cv2
import pytest

from tests.samples import random_maps
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.maps import pictures
from ultralytics_diffattn.maps.pictures import Selection, draw_source


@pytest.fixture
def images(monkeypatch):
    """Replace the prediction by maps of images with these paths."""
    paths, calls = [], []

    def each_image(*args, **kwargs):
        calls.append((args, kwargs))
        for path in paths:
            maps = random_maps(blocks=("a", "b"))
            maps.result.path = path
            yield maps

    monkeypatch.setattr(pictures, "each_image", each_image)
    return paths, calls


def test_a_picture_is_written_before_its_entry_and_no_later_one(images, tmp_path):
    paths, calls = images
    paths += ["x/one.jpg", "x/two.jpg"]
    entries = draw_source(tmp_path, "model", "x", Selection(xy=(3, 4)), "baseline", conf=0.5)
    assert isinstance(entries, GeneratorType)
    entry = next(entries)
    assert (entry.file, entry.source) == ("one.png", "one.jpg")
    assert [file.name for file in tmp_path.iterdir()] == ["one.png"]
    assert cv2.imread(str(tmp_path / "one.png")).shape == (entry.height, entry.width, 3)
    assert calls == [(("model", "x", (3, 4), "baseline"), {"conf": 0.5})]


def test_selection(images, tmp_path):
    """Two objects: a row for each of two blocks and two heads, or one for the mean of blocks and heads."""
    paths, _ = images
    paths += ["x/one.jpg"]
    all_rows, one_row = (
        next(draw_source(tmp_path, None, "x", selection))
        for selection in (Selection(heads=[0, 1]), Selection([["a", "b"]], [None]))
    )
    assert all_rows.height - one_row.height == 3 * 2 * (180 + 6)  # panels of 240 x 180 and a gap


def test_names(images, tmp_path):
    paths, _ = images
    paths += ["x/1-2.jpg", "x/1.jpg", "x/1.png", "y/1.png"]
    assert [e.file for e in draw_source(tmp_path, None, "x", Selection())] == ["1-2.png", "1.png", "1-3.png", "1-4.png"]


def test_a_source_without_images(images, tmp_path):
    with pytest.raises(UserError, match=r"source=x holds no image that can be read"):
        list(draw_source(tmp_path, None, "x", Selection()))
