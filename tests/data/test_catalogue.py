"""data/catalogue.py and check.py: each way to name a data set, what is refused, stock's downloads from a stand-in."""

import http.server
import json
import re
import shutil
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest
import yaml
from ultralytics.utils import ROOT as STOCK
from ultralytics.utils import SETTINGS

from tests.annotations import data_set, jpeg
from ultralytics_diffattn import bundled
from ultralytics_diffattn.data import catalogue
from ultralytics_diffattn.data.check import check, fingerprint
from ultralytics_diffattn.errors import MissingFileError, UserError

pytestmark = pytest.mark.usefixtures("here")

NAMES = ["coco", "voc", "coco8", "coco128", "shapes"]


def test_catalogue_agrees_with_the_data_yamls():
    known = catalogue.catalogue()
    assert list(known) == NAMES
    for name, entry in known.items():
        file = bundled.find(entry["data"]) or STOCK / "cfg" / "datasets" / entry["data"]
        assert len(yaml.safe_load(Path(file).read_text(encoding="utf-8"))["names"]) == entry["classes"]
        assert set(entry) == set(catalogue.KEYS)
        assert {"epochs", "imgsz", "batch"} <= set(entry["budget"])
        assert catalogue.resolve(name) == (name, entry["data"], entry["budget"], entry["classes"])


def test_own_catalogue(here):
    data_set(here / "mine")
    (here / "datasets.yaml").write_text(
        "mine: {data: mine/data.yaml, budget: {epochs: 3, nbs: 8}}\nvoc: {data: coco8.yaml}\nfolder: {data: mine}\n"
    )
    assert catalogue.resolve("mine") == ("mine", str(here / "mine" / "data.yaml"), {"epochs": 3, "nbs": 8}, None)
    assert catalogue.resolve("voc") == ("voc", "coco8.yaml", {}, None)
    assert catalogue.resolve("folder") == ("folder", str(here / "mine" / "data.yaml"), {}, None)
    assert list(catalogue.catalogue()) == [*NAMES, "mine", "folder"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "is no catalogue"),
        ("a: [", "cannot be read"),
        ("mine: {budget: {}}", "'mine' needs `data:`"),
        ("mine: mine.yaml", "'mine' needs `data:`"),
        ("mine: {data: x.yaml, budgte: {}}", "unknown key 'budgte'. Did you mean budget"),
        ("mine: {data: x.yaml, budget: 3}", "`budget` of 'mine' is 3"),
        (
            "mine: {data: x.yaml, budget: {pretrained: x.pt}}",
            "`pretrained` in `budget` of 'mine' is 'x.pt': only numbers",
        ),
        ("mine: {data: x.yaml, budget: {model: x.pt}}", "`model` in `budget` of 'mine' is 'x.pt': only numbers"),
        ("mine: {data: x.yaml, budget: {epoch: 3}}", "unknown training argument 'epoch'. Did you mean epochs"),
    ],
)
def test_bad_catalogue(here, text, message):
    (here / "datasets.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        catalogue.resolve("mine")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("shapes.yaml", ("shapes", "shapes.yaml")),  # ours
        ("dota8.yaml", ("dota8", "dota8.yaml")),  # stock's
        ("dota8", ("dota8", "dota8.yaml")),
        ("set", ("set", "{here}/set/data.yaml")),
        ("set/data.yaml", ("set", "{here}/set/data.yaml")),
        (Path("set/data.yaml"), ("set", "{here}/set/data.yaml")),
        ("coco8.yaml", ("coco8", "{here}/coco8.yaml")),  # the user's own file wins
        ("https://example.com/cats.zip", ("cats", "https://example.com/cats.zip")),
        ("cats.zip", ("cats", "{here}/cats.zip")),
    ],
)
def test_resolve(here, data, expected):
    data_set(here / "set")
    shutil.copy(here / "set" / "data.yaml", here / "coco8.yaml")
    (here / "cats.zip").touch()
    assert catalogue.resolve(data) == (expected[0], expected[1].format(here=here), {}, None)


@pytest.mark.parametrize("layout", ["voc", "coco"])
def test_resolve_converts(here, layout):
    root = here / "my-set"
    for i in range(5):
        image = root / "JPEGImages" / f"{i}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(jpeg())
    if layout == "voc":
        (root / "Annotations").mkdir()
        for i in range(5):
            box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
            text = f"<a><object><name>x</name><bndbox>{box}</bndbox></object></a>"
            (root / "Annotations" / f"{i}.xml").write_text(text)
    else:
        (root / "JPEGImages").rename(root / "images")
        (root / "annotations").mkdir()
        images = [{"id": i, "file_name": f"{i}.jpg", "width": 32, "height": 24} for i in range(5)]
        boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 8, 8]} for i in range(5)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "x"}]}
        (root / "annotations" / "all.json").write_text(json.dumps(content))
        assert catalogue.resolve("my-set/annotations/all.json").name == "my-set"
    dataset = catalogue.resolve("my-set")
    assert dataset.name == "my-set"
    assert dataset.data.startswith(SETTINGS["datasets_dir"])
    assert catalogue.resolve("my-set") == dataset
    data = check(dataset.data, 1)
    assert data["names"] == {0: "x"}
    (here / "datasets.yaml").write_text("short: {data: my-set, budget: {epochs: 2}}")
    assert catalogue.resolve("short") == ("short", dataset.data, {"epochs": 2}, None)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("vocc", MissingFileError, "catalogue .coco, voc, coco8.*PASCAL VOC.*COCO JSON.*Did you mean voc"),
        ("VOC2007", MissingFileError, "was not found"),
        ("coc8.yaml", MissingFileError, r"Did you mean coco8\.yaml"),
        ("shape.yaml", MissingFileError, r"Did you mean shapes\.yaml"),
        ("", MissingFileError, "catalogue"),
        (None, UserError, "NoneType"),
        (3, UserError, "int"),
        ("set/dat.yaml", MissingFileError, "does not exist. Did you mean set/data.yaml"),
        ("nowhere/data.yaml", MissingFileError, "does not exist"),
        ("empty", MissingFileError, "is empty: there must be"),
        ("other", MissingFileError, "is no data set; it has readme.txt: there must be"),
        ("two", UserError, "2 YAMLs, a.yaml, b.yaml: give the path of one"),
    ],
)
def test_resolve_refuses(here, data, error, message):
    data_set(here / "set")
    for folder, files in {"empty": [], "other": ["readme.txt"], "two": ["a.yaml", "b.yaml"]}.items():
        (here / folder).mkdir()
        for file in files:
            (here / folder / file).touch()
    with pytest.raises(error, match=message):
        catalogue.resolve(data)


def zipped(file, contents):
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.fixture
def server(tmp_path):
    """Serve tmp_path/served and return (its folder, its URL)."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def from_server(name, root, url):
    """Write stock's data YAML into the current folder: data in `root`, all downloads from `url`."""
    text = (STOCK / "cfg" / "datasets" / name).read_text(encoding="utf-8")
    head, script = text.split("download: |")
    for address in (
        "http://images.cocodataset.org/zips",
        "https://github.com/ultralytics/assets/releases/download/v0.0.0",
    ):
        script = script.replace(address, url)
    script = re.sub(r"( *)from ultralytics.utils import (.*)ASSETS_URL(.*)", rf'\g<0>\n\1ASSETS_URL = "{url}"', script)
    assert set(re.findall(r"https?://[^/\"]+", script)) == {url}
    head = re.sub(r"(?m)^path: .*$", f"path: {root}", head)
    Path(name).write_text(f"{head}download: |{script}", encoding="utf-8")


def test_download_of_coco(tmp_path, server):
    folder, url = server
    lists, labels = {"train2017": ["01", "02", "03"], "val2017": ["04", "05"]}, {}
    for split, stems in lists.items():
        labels[f"coco/{split}.txt"] = "".join(f"./images/{split}/{s}.jpg\n" for s in stems)
        labels |= {f"coco/labels/{split}/{s}.txt": "79 0.1 0.1 0.9 0.1 0.9 0.9\n" for s in stems[1:]}
        zipped(folder / f"{split}.zip", {f"{split}/{s}.jpg": jpeg() for s in stems})
    zipped(folder / "test2017.zip", {"test2017/06.jpg": jpeg()})
    zipped(folder / "coco2017labels-segments.zip", labels)
    from_server("coco.yaml", tmp_path / "sets" / "coco", url)
    dataset = catalogue.resolve("coco")
    assert dataset.budget == catalogue.catalogue()["coco"]["budget"]
    data = check(dataset.data, 80)
    count = {s: len(Path(data[s]).read_text().split()) for s in ("train", "val")}
    assert count == {"train": 3, "val": 2}
    assert all((tmp_path / "sets" / "coco" / "images" / s / f"{i}.jpg").is_file() for s in lists for i in lists[s])
    assert len(fingerprint(data)) == 64


def test_download_of_voc(tmp_path, server):
    folder, url = server
    sets = {
        "VOCtrainval_06-Nov-2007": ("2007", {"train": ["000001"], "val": ["000002", "000003"]}),
        "VOCtest_06-Nov-2007": ("2007", {"test": ["000004", "000005"]}),
        "VOCtrainval_11-May-2012": ("2012", {"train": ["2008_000001"], "val": ["2008_000002"]}),
    }
    row = "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>16</xmax>"
    row += "<ymax>12</ymax></bndbox></object>"
    objects = row.format("dog", 0) + row.format("dog", 1)
    xml = f"<annotation><size><width>32</width><height>24</height></size>{objects}</annotation>"
    for name, (year, lists) in sets.items():
        root, contents = f"VOCdevkit/VOC{year}", {}
        for split, stems in lists.items():
            contents[f"{root}/ImageSets/Main/{split}.txt"] = "\n".join(stems)
            for stem in stems:
                contents |= {f"{root}/JPEGImages/{stem}.jpg": jpeg(), f"{root}/Annotations/{stem}.xml": xml}
        zipped(folder / f"{name}.zip", contents)
    from_server("VOC.yaml", tmp_path / "sets" / "VOC", url)
    for part in ("ImageSets/Main", "JPEGImages", "Annotations"):
        # zipfile of Python < 3.12 fails if two threads make one folder; real archives end minutes apart, these at once
        (tmp_path / f"sets/VOC/images/VOCdevkit/VOC2007/{part}").mkdir(parents=True)
    data = check(catalogue.resolve("voc").data, 20)
    count = [sum(len(list(Path(p).glob("*.jpg"))) for p in data[s]) for s in ("train", "val")]
    assert count == [5, 2]
    label = (tmp_path / "sets" / "VOC" / "labels" / "test2007" / "000004.txt").read_text().split()
    assert [float(v) for v in label] == pytest.approx([11, 8 / 32, 6 / 24, 14 / 32, 10 / 24])
