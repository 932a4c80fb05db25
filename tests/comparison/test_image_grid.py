"""image_grid.py: the right images, in the right order, with the right boxes on them."""

import base64

import cv2
import numpy as np
import pytest

from ultralytics_diffattn.comparison import image_grid
from ultralytics_diffattn.comparison.image_grid import Box, PairImages
from ultralytics_diffattn.comparison.schema import RunKey
from ultralytics_diffattn.evaluation import recording
from ultralytics_diffattn.evaluation.predictions import Predictions

# For each image: true boxes, then (box, score, right) of the predictions. F1 by hand beside it.
A, B, C = (20, 20, 40, 30), (100, 60, 50, 50), (150, 10, 30, 30)
FIRST = {
    "same": ([A], [(A, 0.9, True)]),  # 1
    "ünlike": ([A, B], [(A, 0.9, True), (B, 0.3, True)]),  # 1
    "gone": ([A], []),  # 0
    "less": ([A, B], [(A, 0.9, True), (B, 0.2, True)]),  # 2 / 3, as 0.2 is too low a score
    "empty": ([], []),  # 1
}
SECOND = {
    "same": ([A], [(A, 0.8, True)]),  # 1
    "ünlike": ([A, B], [(C, 0.9, False)]),  # 0
    "gone": ([A], [(A, 0.9, True)]),  # 1
    "less": ([A, B], [(A, 0.9, True), (B, 0.25, True), (C, 0.5, False)]),  # 4 / 5
    "empty": ([], [(C, 0.9, False)]),  # 0
}
F1 = {"same": (1, 1), "ünlike": (1, 0), "gone": (0, 1), "less": (2 / 3, 4 / 5), "empty": (1, 0)}


def make_predictions(images, folder):
    rows = [(i, *row) for i, (_, boxes) in enumerate(images.values()) for row in boxes]
    truth = [(i, box) for i, (boxes, _) in enumerate(images.values()) for box in boxes]
    return Predictions(
        names=["a very long name of a class", "b"],
        files=[str(folder / f"{name}.png") for name in images],
        shape=np.array([[120, 200]] * len(images)),
        tp=np.array([[right] * 10 for *_, right in rows], bool).reshape(-1, 10),
        conf=np.array([score for _, _, score, _ in rows]),
        cls=np.zeros(len(rows), np.int32),
        box=np.array([box for _, box, _, _ in rows], float).reshape(-1, 4),
        image=np.array([i for i, *_ in rows], int),
        target_cls=np.ones(len(truth), np.int32),
        target_box=np.array([box for _, box in truth], float).reshape(-1, 4),
        target_image=np.array([i for i, _ in truth], int),
    )


@pytest.fixture
def runs(tmp_path):
    """Return three models' runs, of which the third has no seed of the first's."""
    for name in F1:
        image = cv2.imencode(".png", np.full((120, 200, 3), 60, np.uint8))[1]
        (tmp_path / f"{name}.png").write_bytes(image.tobytes())
    folders = {}
    for label, seed, images in (("m", 1, FIRST), ("n", 0, FIRST), ("n", 1, SECOND), ("o", 2, SECOND)):
        folder = folders[RunKey(label, seed)] = tmp_path / f"{label}{seed}"
        folder.mkdir()
        recording.write(folder / "predictions.npz", make_predictions(images, tmp_path))
    return folders


def decode(src):
    head, data = src.split(",")
    assert head == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def near(image, x, y, colour):
    """Return whether a colour is within 3 pixels of a point, JPEG's blur allowed for."""
    patch = image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].reshape(-1, 3).astype(int)
    return np.abs(patch - colour).max(1).min() < 70


def test_f1_of_each_image(tmp_path):
    for i, images in enumerate((FIRST, SECOND)):
        assert image_grid.f1(make_predictions(images, tmp_path)) == pytest.approx([both[i] for both in F1.values()])


def test_the_images_that_differ_most(runs):
    (pair,) = image_grid.most_different_images(runs)
    assert (pair.first, pair.second, pair.seed) == ("m", "n", 1)
    assert [image.file for image in pair.images] == ["ünlike.png", "gone.png", "empty.png", "less.png"]
    for image in pair.images:
        assert list(image.scores) == ["m", "n"]
        assert list(image.scores.values()) == pytest.approx(F1[image.file[:-4]])
    (pair,) = image_grid.most_different_images(runs, count=2)
    assert len(pair.images) == 2


def test_what_is_drawn(runs):
    image = image_grid.most_different_images(runs)[0].images[0]
    assert [panel.title for panel in image.panels] == [
        "truth: 2 objects",
        "m: 2 right, 0 wrong, 0 missed",
        "n: 0 right, 1 wrong, 2 missed",
    ]
    truth, first, second = (decode(panel.src) for panel in image.panels)
    assert truth.shape == first.shape == second.shape == (216, 360, 3)
    corners = {box: (round((box[0] + box[2]) * 1.8), round((box[1] + box[3]) * 1.8)) for box in (A, B, C)}
    expected = {
        (0, A): image_grid.TRUE,
        (0, B): image_grid.TRUE,
        (1, A): image_grid.RIGHT,
        (1, B): image_grid.RIGHT,
        (2, C): image_grid.WRONG,
    }
    for i, drawing in enumerate((truth, first, second)):
        for box, corner in corners.items():
            colours = [c for c in (image_grid.TRUE, image_grid.RIGHT, image_grid.WRONG) if near(drawing, *corner, c)]
            assert colours == ([expected[i, box]] if (i, box) in expected else []), (i, box)


@pytest.mark.parametrize("shape", [(4000, 100), (1, 3000), (30, 20), (480, 640)], ids=str)
def test_no_drawing_is_larger_than_a_phone(shape):
    boxes = [Box(np.array([0, 0, shape[1], shape[0]]), "name", image_grid.WRONG)]
    height, width = decode(image_grid._draw(np.zeros((*shape, 3), np.uint8), np.array(shape), boxes)).shape[:2]
    assert width <= 360
    assert height <= 480


def test_images_that_are_gone_or_broken_are_named(runs, tmp_path):
    (tmp_path / "gone.png").unlink()
    (tmp_path / "empty.png").write_bytes(b"no image")
    (pair,) = image_grid.most_different_images(runs)
    assert pair.unreadable == ["gone.png", "empty.png"]
    assert [image.file for image in pair.images] == ["ünlike.png", "less.png"]


def test_models_that_do_not_differ_show_nothing(runs):
    same = {RunKey("m", 1): runs["m", 1], RunKey("n", 1): runs["n", 0]}
    assert image_grid.most_different_images(same) == [PairImages("m", "n", 1, [], [])]
    assert image_grid.most_different_images({}) == []
