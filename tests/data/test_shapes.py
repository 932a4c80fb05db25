"""data/shapes.py: the same files each time, labels that the pixels bear out, and no half data set."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ultralytics_diffattn.data import shapes
from ultralytics_diffattn.errors import ExistingFileError

SMALL = {"train": 3, "val": 2}


def contents(root):
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*.*"))}


def test_the_whole_set(tmp_path):
    shapes.generate(tmp_path / "a")
    files = contents(tmp_path / "a")
    assert sum(map(len, files.values())) < 20e6
    assert {s: len(list((tmp_path / "a" / "images" / s).iterdir())) for s in shapes.COUNTS} == shapes.COUNTS
    classes = b"".join(v for n, v in files.items() if n.endswith(".txt")).decode().splitlines()
    counts = np.bincount([int(row.split()[0]) for row in classes], minlength=len(shapes.NAMES))
    assert counts.min() > 0.1 * counts.sum()
    shapes.generate(tmp_path / "b")
    assert contents(tmp_path / "b") == files


def test_names_in_the_data_yaml():
    import yaml

    from ultralytics_diffattn.bundled import find

    data = yaml.safe_load(Path(find("shapes.yaml")).read_text())
    assert list(data["names"].values()) == shapes.NAMES


def runs_across(patch):
    """Tell from the pixels alone whether stripes run across: then brightness changes down the patch."""
    gray = cv2.GaussianBlur(cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY), (3, 3), 0).astype(float)
    return np.abs(np.diff(gray, axis=0)).mean() > np.abs(np.diff(gray, axis=1)).mean()


@pytest.mark.parametrize("seed", range(40))
def test_classes_follow_the_key(seed, monkeypatch):
    painted = []  # the key is the first thing that is painted
    paint = shapes._paint
    monkeypatch.setattr(shapes, "_paint", lambda *a: painted.append(paint(*a)) or painted[-1])
    image, boxes = shapes.draw(np.random.default_rng(seed))
    x, y, w, h = painted[0]
    key = runs_across(image[y + 8 : y + h - 8, x + 8 : x + w - 8])
    assert 1 <= len(boxes) <= 5
    for label, cx, cy, bw, bh in boxes:
        x, y, w, h = (round(v * shapes.SIZE) for v in (cx - bw / 4, cy, bw / 2, bh / 3))  # inside each of the shapes
        same = runs_across(image[y : y + h, x : x + w]) == key
        assert shapes.NAMES[label].endswith("same" if same else "other")
        assert 0 <= cx - bw / 2
        assert cx + bw / 2 <= 1
        assert 0 <= cy - bh / 2
        assert cy + bh / 2 <= 1


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("imwrite", "error", "message"),
    [
        (interrupt, KeyboardInterrupt, None),
        (lambda *_: False, OSError, r"0000\.jpg could not be written"),  # how OpenCV tells of a full disk
    ],
    ids=["interrupted", "disk full"],
)
def test_a_drawing_that_fails_leaves_nothing(imwrite, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "COUNTS", SMALL)
    monkeypatch.setattr(shapes.cv2, "imwrite", imwrite)
    with pytest.raises(error, match=message):
        shapes.generate(tmp_path / "shapes")
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "COUNTS", SMALL)
    (tmp_path / "shapes").mkdir()
    shapes.generate(tmp_path / "shapes")  # an empty folder is taken
    before = contents(tmp_path)
    shapes.generate(tmp_path / "shapes", seed=1)  # another process was faster
    assert contents(tmp_path) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ExistingFileError, match="move it away"):
        shapes.generate(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "shapes"]
