"""`diffattn attend` from beginning to end: the files that it writes, and what it refuses."""

import json
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
import torch
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from tests.places import ROOT
from tests.samples import VALIDATION, awake
from ultralytics_diffattn import cli
from ultralytics_diffattn.maps import drawing, pictures, summary
from ultralytics_diffattn.maps.statistics import STATISTICS
from ultralytics_diffattn.verbs import attend as verb


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return checkpoints by name: ours, stock's, and one without attention."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("yolo11n-diffattn", "yolo11n", "yolov8n"):
        awake(YOLO(f"{name}.yaml")).save(folder / f"{name}.pt")
    return folder


@pytest.fixture
def images(tmp_path):
    """Return a folder with images of 32 px and 4,000 px, a file that is none, and names that HTML has to quote."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, shape in {"small": (32, 32), "large": (2000, 4000), "a <b> & #c": (60, 80)}.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8))
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


class Sources(HTMLParser):
    """Collects what a page loads."""

    def __init__(self, page):
        super().__init__()
        self.loaded = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for key, value in attrs if key in {"src", "href"}]


def test_a_folder(weights, images, tmp_path):
    done = verb.attend(
        model=str(weights / "yolo11n-diffattn.pt"),
        baseline=str(weights / "yolo11n.pt"),
        source=str(images),
        xy=(5, 5, 20, 30),
        head="all",
        imgsz=64,
        project=str(tmp_path),
        name="seen",
    )
    folder = Path(done["folder"])
    assert folder == tmp_path / "seen"
    assert sorted(Path(f).name for f in done["images"]) == ["a <b> & #c.png", "large.png", "small.png"]
    assert done["numbers"] is None
    for file in done["images"]:
        drawn = cv2.imread(file)
        assert drawn is not None
        assert drawn.shape[0] > 4 * 90  # two points, two heads each
    page = (folder / "attention.html").read_text(encoding="utf-8")
    assert sorted(unquote(s) for s in Sources(page).loaded) == ["a <b> & #c.png", "large.png", "small.png"]
    assert "<b>" not in page.replace("&lt;b&gt;", "")
    assert "diffattn attend model=" in page


def test_through_the_command(weights, images, tmp_path, capsys):
    words = [
        f"model={weights / 'yolo11n-diffattn.pt'}",
        f"source={images / 'small.png'}",
        "xy=3,4",
        "block=0",
        "head=1",
    ]
    assert cli.main(["attend", *words, "imgsz=64", f"project={tmp_path}"]) == 0
    page = (tmp_path / "attend" / "attention.html").read_text()
    assert "xy=3,4 block=0 head=1" in page
    assert "baseline" not in page
    assert cli.main(["attend", "help"]) == 0
    assert "baseline=..." in capsys.readouterr().out


def test_numbers(weights, eighty, tmp_path):
    """What is printed and written is what `measurement.measure` returned."""
    done = verb.attend(
        model=str(weights / "yolo11n-diffattn.pt"),
        baseline=str(weights / "yolo11n.pt"),
        data=str(eighty),
        conf=0.9,  # of pictures: a validation has its own
        project=str(tmp_path),
        **VALIDATION,
    )
    folder = Path(done["folder"])
    written = json.loads((folder / "attention.json").read_text())
    assert written["blocks"]["model.10.m.0.attn"]["maps"] == done["numbers"]["blocks"]["model.10.m.0.attn"]["maps"]
    markdown = (folder / "attention.md").read_text(encoding="utf-8")
    assert markdown == summary.as_markdown(done["numbers"])
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| [\d.]+ \| ([\d.]+) \| ([\d.]+) \|$", markdown, re.M)
    assert [row[0] for row in rows] == ["baseline", "A1", "A2", "A1 − λ·A2", "A1 − λ·A2, positive part"]
    for (_, *cells), values in zip(rows, written["blocks"]["model.10.m.0.attn"]["maps"].values(), strict=True):
        assert cells == [f"{values[key]:.3f}" for key in STATISTICS]
    page = (folder / "attention.html").read_text(encoding="utf-8")
    assert all(row[1] in page for row in rows)
    assert done["images"] == []
    assert sorted(f.name for f in tmp_path.rglob("*") if f.is_file()) == [
        "attention.html",
        "attention.json",
        "attention.md",
    ]


REFUSED = [
    ([], r"model= is missing"),
    (["model=OURS"], r"source= is missing: an image, a folder"),
    (["model=STOCK", "source=IMAGE"], r"yolo11n.pt has no differential attention, so there is no second map"),
    (["model=NONE", "source=IMAGE"], r"yolov8n.pt has no attention over a feature map"),
    (["model=best.onnx", "source=IMAGE"], r"best.onnx is no PyTorch checkpoint"),
    (["model=gone.pt", "source=IMAGE"], r"gone.pt does not exist"),
    (["model=OURS", "baseline=gone.pt", "source=IMAGE"], r"baseline=gone.pt does not exist"),
    (["model=OURS", "source=gone.jpg"], r"gone.jpg"),
    (["model=OURS", "source=BROKEN"], r"broken.jpg holds no image that can be read"),
    (["model=OURS", "data=gone.yaml"], r"gone.yaml"),
    (["model=OURS", "source=IMAGE", "xy=900,3"], r"xy=900,3 lies outside the image, which is 32 pixels wide"),
    (["model=OURS", "source=IMAGE", "xy=3"], r"xy=3 must be pairs of pixels"),
    (["model=OURS", "source=IMAGE", "block=1"], r"block=1 is out of range: .* blocks are 0: model.10.m.0.attn"),
    (["model=OURS", "source=IMAGE", "block=ten"], r"block='ten' must be 'all', 'mean', or indices"),
    (["model=OURS", "source=IMAGE", "head=0,2"], r"head=2 is out of range: there are 2 heads, counted from 0"),
    (["model=OURS", "source=IMAGE", "blok=1"], r"block"),
    (["model=OURS", "source=IMAGE", "augment=True"], r"augment=True has no meaning here"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) or "nothing" for words, _ in REFUSED])
def test_refused(words, message, weights, images, tmp_path, capsys):
    names = {"OURS": weights / "yolo11n-diffattn.pt", "STOCK": weights / "yolo11n.pt", "NONE": weights / "yolov8n.pt"}
    names |= {"IMAGE": images / "small.png", "BROKEN": images / "broken.jpg"}
    for name, file in names.items():
        words = [word.replace(f"={name}", f"={file}") for word in words]
    assert cli.main(["attend", *words, "imgsz=64", f"project={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").rglob("*"))  # no empty folder either


def test_an_image_without_detections_warns(weights, images, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(LOGGER, "warning", warnings.append)
    done = verb.attend(
        str(weights / "yolo11n-diffattn.pt"), str(images / "small.png"), conf=1.0, imgsz=64, project=str(tmp_path)
    )
    assert len(done["images"]) == 1
    assert any("no object was detected; lower conf=" in line for line in warnings)


def test_an_interruption_loses_nothing(weights, images, tmp_path, monkeypatch):
    """Only Ctrl-C ends a camera: what was drawn until then is on the page."""
    stock, calls = drawing.draw, []

    def draw(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stock(*args)

    monkeypatch.setattr(pictures, "draw", draw)
    with pytest.raises(KeyboardInterrupt):
        verb.attend(str(weights / "yolo11n-diffattn.pt"), str(images), xy=(1, 1), imgsz=64, project=str(tmp_path))
    assert len(Sources((tmp_path / "attend" / "attention.html").read_text()).loaded) == 1


def test_pictures_of_images_of_one_name(weights, tmp_path):
    for name in ("1-2.jpg", "1.jpg", "1.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((32, 32, 3), np.uint8))
    done = verb.attend(str(weights / "yolo11n-diffattn.pt"), str(tmp_path), xy=(1, 1), imgsz=64, project=str(tmp_path))
    assert [Path(f).name for f in done["images"]] == ["1-2.png", "1.png", "1-3.png"]


def test_images_in_memory(weights, tmp_path):
    image = np.zeros((32, 64, 3), np.uint8)
    model = YOLO(weights / "yolo11n-diffattn.pt")
    done = verb.attend(model, image, xy=np.array([3, 4]), imgsz=64, project=str(tmp_path))
    assert len(done["images"]) == 1
    page = (Path(done["folder"]) / "attention.html").read_text()
    assert "source=ndarray" in page


def test_pictures_are_shown_in_a_notebook_alone(monkeypatch, tmp_path):
    import sys

    shown = []
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8))
    verb.show([str(file)])  # no notebook
    fake = SimpleNamespace(get_ipython=lambda: SimpleNamespace(has_trait=lambda name: name == "kernel"))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    display = SimpleNamespace(Image=lambda data: data, display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    verb.show([str(file)])
    assert [s[:2] for s in shown] == [b"\xff\xd8"]  # one JPEG


def test_the_picture_of_the_readme(weights, images):
    """A row for each object, three panels wide; the image beside its maps."""
    draw = runpy.run_path(str(ROOT / "scripts" / "attention_picture.py"))["draw"]
    models = {"model": str(weights / "yolo11n-diffattn.pt"), "baseline": str(weights / "yolo11n.pt")}
    picture = draw(**models, source=str(images / "large.png"), xy=(10, 10, 3000, 1500), imgsz=64)
    assert picture.size == (3 * (240 + 6), 20 + 2 * (120 + 6))
    mean = np.asarray(picture)[20 + 40 : 20 + 80].reshape(40, 3, 246, 3)[:, :, 40:200].std(axis=(0, 2, 3))
    assert mean.min() > 1  # no panel is empty
