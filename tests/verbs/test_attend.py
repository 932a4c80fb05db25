"""attend.py and gallery.py: `diffattn attend` from beginning to end, what it leaves, and what it refuses."""

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
from tests.samples import VALIDATION, awake, random_maps
from ultralytics_diffattn import cli
from ultralytics_diffattn.maps import drawing, gallery, measurement, pictures
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
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if key in {"src", "href"}]


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
    assert sorted(unquote(s) for s in Sources(page).found) == ["a <b> & #c.png", "large.png", "small.png"]
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
    found = json.loads((folder / "attention.json").read_text())
    assert found["blocks"]["model.10.m.0.attn"]["maps"] == done["numbers"]["blocks"]["model.10.m.0.attn"]["maps"]
    markdown = (folder / "attention.md").read_text(encoding="utf-8")
    assert markdown == gallery.as_markdown(done["numbers"])
    rows = re.findall(r"^\| ([^|]+) \| ([\d.]+) \| [\d.]+ \| ([\d.]+) \| ([\d.]+) \|$", markdown, re.M)
    assert [row[0] for row in rows] == ["baseline", "A1", "A2", "A1 − λ·A2", "A1 − λ·A2, positive part"]
    for (_, *cells), values in zip(rows, found["blocks"]["model.10.m.0.attn"]["maps"].values(), strict=True):
        assert cells == [f"{values[key]:.3f}" for key in measurement.MEASURES]
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
    (["model=STOCK", "source=IMAGE"], r"yolo11n.pt has no differential attention, nothing to subtract"),
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


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) or "nothing" for words, _ in REFUSED])
def test_refused(words, said, weights, images, tmp_path, capsys):
    names = {"OURS": weights / "yolo11n-diffattn.pt", "STOCK": weights / "yolo11n.pt", "NONE": weights / "yolov8n.pt"}
    names |= {"IMAGE": images / "small.png", "BROKEN": images / "broken.jpg"}
    for name, file in names.items():
        words = [word.replace(f"={name}", f"={file}") for word in words]
    assert cli.main(["attend", *words, "imgsz=64", f"project={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert re.search(said, error), error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").rglob("*"))  # no empty folder either


def test_nothing_found_is_said(weights, images, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(LOGGER, "warning", said.append)
    done = verb.attend(
        str(weights / "yolo11n-diffattn.pt"), str(images / "small.png"), conf=1.0, imgsz=64, project=str(tmp_path)
    )
    assert len(done["images"]) == 1
    assert any("nothing was found; lower conf=" in line for line in said)


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
    assert len(Sources((tmp_path / "attend" / "attention.html").read_text()).found) == 1


def test_frames_and_names_that_meet(weights, tmp_path):
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


def test_shares_inside_boxes():
    """Of a map that looks at one token, all mass is inside a box that covers it, and none inside one that does not."""
    maps = random_maps()
    boxes = torch.tensor([[60.0, 40.0, 80.0, 60.0], [0.0, 0.0, 40.0, 60.0]])  # the last token; the left half
    entry = gallery.entry(maps._replace(boxes=boxes), "b.png", "b.jpg", (10, 10))
    assert entry["head"] == [
        "object",
        "block",
        "box / image",
        "baseline",
        "A1",
        "A2",
        "A1 − λ·A2",
        "A1 − λ·A2, positive part",
    ]
    assert [row[2] for row in entry["rows"]] == ["0.083", "0.500"]
    assert [row[5] for row in entry["rows"]] == ["1.000", "0.000"]
    assert entry["rows"][0][7] == "0.000"  # of the difference nothing is left there but negative weights
    a1 = maps.blocks["model.10.m.0.attn"].a1[1].mean(0)
    assert entry["rows"][1][4] == f"{float(a1[:, :2].sum()):.3f}"
    assert gallery.entry(random_maps(), "b.png", "b.jpg", (1, 1))["rows"][1:] == []  # its second object is a point


def test_a_block_without_counterpart_leaves_its_column_empty():
    """As stride 16 of yolo11n-diffattn-p4 beside yolo11n, which has no attention there."""
    maps = random_maps(objects=1, blocks=("model.6.m.0.attn", "model.10.m.0.attn"))
    coarse = maps.baseline["model.10.m.0.attn"]
    fine = maps.blocks["model.6.m.0.attn"]._replace(
        a1=torch.rand(1, 2, 6, 8).flatten(2).softmax(-1).unflatten(-1, (6, 8)),
        a2=torch.rand(1, 2, 6, 8).flatten(2).softmax(-1).unflatten(-1, (6, 8)),
        window=(0.0, 0.0, 8.0, 6.0),
    )
    maps = maps._replace(
        blocks={"model.6.m.0.attn": fine, "model.10.m.0.attn": maps.blocks["model.10.m.0.attn"]},
        baseline={"model.10.m.0.attn": coarse},
    )
    first, second = gallery.entry(maps, "b.png", "b.jpg", (10, 10))["rows"]
    assert (first[3], second[3] != "-", len(first), len(second)) == ("-", True, 8, 8)
    picture = drawing.draw(maps)
    columns = [drawing.LABELS + j * (240 + drawing.GAP) for j in range(6)]
    rows = picture[-2 * (180 + drawing.GAP) : -180 - drawing.GAP], picture[-180 - drawing.GAP :]
    empty = [[(row[:180, x : x + 240] == 255).all() for x in columns] for row in rows]
    assert empty == [[False, True, *[False] * 4], [False] * 6]


def test_shown_in_a_notebook_alone(monkeypatch, tmp_path):
    import sys

    shown = []
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), np.zeros((4, 4, 3), np.uint8))
    verb.show([str(file)])  # no notebook
    fake = SimpleNamespace(get_ipython=lambda: SimpleNamespace(has_trait=lambda name: name == "kernel"))
    monkeypatch.setitem(sys.modules, "IPython", fake)
    display = SimpleNamespace(Image=lambda **given: given["data"], display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    verb.show([str(file)])
    assert [s[:2] for s in shown] == [b"\xff\xd8"]  # one JPEG


def test_the_picture_of_the_readme(weights, images):
    """A row for each object, three panels wide; the image beside its maps."""
    draw = runpy.run_path(str(ROOT / "scripts" / "attention_picture.py"))["draw"]
    given = {"model": str(weights / "yolo11n-diffattn.pt"), "baseline": str(weights / "yolo11n.pt")}
    picture = draw(**given, source=str(images / "large.png"), xy=(10, 10, 3000, 1500), imgsz=64)
    assert picture.size == (3 * (240 + 6), 20 + 2 * (120 + 6))
    mean = np.asarray(picture)[20 + 40 : 20 + 80].reshape(40, 3, 246, 3)[:, :, 40:200].std(axis=(0, 2, 3))
    assert mean.min() > 1  # no panel is empty
