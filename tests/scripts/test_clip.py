"""scripts/captions.py, clip_curves.py, clip_parity.py, clip_speed.py and words.py."""

import csv
import inspect
import re
import runpy

import cv2
import pytest

from tests.interpreters import command, forked, script
from tests.places import ROOT, SHARED

WAYS = "text_to_image", "image_to_text"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    script("captions.py", folder, 0, 2, cwd=folder, preloaded="clip")
    return folder


def test_no_caption_is_in_both_splits(drawn):
    rows = {
        split: list(csv.DictReader((drawn / f"{split}.csv").read_text().splitlines())) for split in ("train", "val")
    }
    captions = {split: [row["caption"] for row in of_split] for split, of_split in rows.items()}
    assert len(captions["val"]) == len(set(captions["val"])) == 200
    assert len(captions["train"]) == 2 * len(set(captions["train"])) == 2 * 904
    assert not set(captions["train"]) & set(captions["val"])
    for caption in captions["val"]:
        assert re.fullmatch(r"a (\w+) (\w+) (above|left of) a (\w+) (\w+)", caption)
    assert all((drawn / row["image"]).is_file() for row in [*rows["val"], *rows["train"]])


@pytest.mark.parametrize(("colour", "bgr"), [("red", (40, 40, 220)), ("blue", (220, 90, 40))])
def test_images_show_what_captions_say(drawn, colour, bgr):
    """The first thing lies in the upper or the left half, the second one opposite."""
    seen = 0
    for row in csv.DictReader((drawn / "val.csv").read_text().splitlines()):
        first, position, second = re.fullmatch(r"a (\w+) \w+ (above|left of) a (\w+) \w+", row["caption"]).groups()
        if (first == colour) == (second == colour):
            continue
        image = cv2.imread(str(drawn / row["image"])).astype(int)
        near = (abs(image - bgr).max(2) < 45).nonzero()
        middle = near[0 if position == "above" else 1].mean()
        assert (middle < 32) == (first == colour), row
        seen += 1
    assert seen > 20


def test_each_caption_of_train_has_sixteen_drawings_unless_told_otherwise():
    main = runpy.run_path(str(ROOT / "scripts" / "captions.py"))["main"]
    assert inspect.signature(main).parameters["views"].default == 16


def smaller(name, change, *arguments, cwd, preloaded):
    """Return what a script of scripts/ says in a fork in which one of its constants is changed first."""
    file = str(ROOT / "scripts" / name)
    code = f"import runpy\nscript = runpy.run_path({file!r})\nscript{change}\nscript['main'](*{arguments!r})"
    return forked(code, cwd=cwd, preloaded=preloaded).stdout


def few(drawn, folder):
    """Put the first drawings where the scripts look for them."""
    (folder / "captions").mkdir(parents=True)
    for split, rows in (("train", 129), ("val", 21)):
        (folder / "captions" / split).symlink_to(drawn / split)
        table = (drawn / f"{split}.csv").read_text().splitlines()[:rows]
        (folder / "captions" / f"{split}.csv").write_text("\n".join(table) + "\n")


def test_curves(drawn, tmp_path):
    pytest.importorskip("lightning")
    few(drawn, tmp_path)
    before = {}
    for seeds in (1, 2):  # the second goes on from the first
        table = (
            script("clip_curves.py", tmp_path, tmp_path / "out.png", 1, seeds, cwd=tmp_path, preloaded="clip")
            .stdout.strip()
            .splitlines()
        )
        rows = [row for row in table if re.fullmatch(r"\| (CLIP|DiffCLIP) \| .*", row)]
        assert [row.split(" | ")[:2] for row in rows] == [
            [f"| {kind}", str(seed)] for kind in ("CLIP", "DiffCLIP") for seed in range(seeds)
        ]
        for name, row in zip([f"{k}-{s}" for k in ("clip", "diffclip") for s in range(seeds)], rows, strict=True):
            (last,) = csv.DictReader((tmp_path / name / "metrics.csv").read_text().splitlines())
            both = (", ".join(f"{float(last[f'{way}/R@{k}']):.3f}" for k in (1, 5, 10)) for way in WAYS)
            assert row.split(" | ", 2)[2] == f"{float(last['loss']):.3f} | {' | '.join(both)} |"
            times = (tmp_path / name / "last.pt").stat().st_mtime_ns
            assert before.setdefault(name, times) == times
    assert cv2.imread(str(tmp_path / "out.png")).std() > 10


def test_speed(tmp_path):
    """Of images of 32 px also by ViT-B/16, which is built in full all the same."""
    small = "['SIZES']['ViT-B/16, 224 px']['image_size'] = 32"
    output = smaller("clip_speed.py", small, 1, 2, cwd=tmp_path, preloaded="clip")
    rows = re.findall(r"^\| (\S+), .*? \| (.+?) \| timm's ViT \| ([\d.]+) \|", output, re.M)
    assert [row[:2] for row in rows] == [
        (size, name) for size in ("ViT-B/16", "clip-tiny") for name in ("DiffCLIP", "CLIP", "timm's ViT again")
    ]
    assert all(float(row[2]) > 0 for row in rows)


def test_parity():
    vectors = SHARED / "vectors" / "diffclip"
    if not vectors.is_dir():
        pytest.skip(f"the reference vectors are not at {vectors}")
    output = script("clip_parity.py", vectors, cwd=ROOT, preloaded="clip").stdout
    rows = dict(re.findall(r"^\| (\S+) \| (.+) \|$", output, re.M)[1:])
    assert rows.keys() == {file.name for file in vectors.iterdir()}
    for file, cell in rows.items():
        for what, difference, largest in re.findall(r"(\w+): ([\d.e+-]+) of ([\d.]+)", cell):
            assert float(difference) < 1e-6 * max(1, float(largest)), (file, what)
    assert rows["diffclip_vitb16_schema.json"] == "517 tensors: 0 differ, parameters: 149,629,185"
    assert rows["tokenizer.json"].endswith(": 0 differ")


def test_words(drawn, tiny, tmp_path):
    """On the drawings' words and a data set of 80 classes, as stock's trainer asks for; on images of 64 px."""
    pytest.importorskip("lightning")
    from ultralytics import YOLO
    from ultralytics.utils import YAML

    few(drawn, tmp_path)
    words = "clip-train", "data=captions/train.csv", "epochs=1", "device=cpu", f"project={tmp_path}", "name=clip"
    command("diffattn", *words, cwd=tmp_path, preloaded="clip")
    names = [*YAML.load(tiny)["names"].values(), *(f"thing {i}" for i in range(74))]
    YAML.save(tmp_path / "wide.yaml", {**YAML.load(tiny), "path": str(tiny.parent), "names": dict(enumerate(names))})
    YOLO("yolo11n.yaml").save(tmp_path / "yolo11n.pt")
    arguments = [str(tmp_path / name) for name in ("wide.yaml", "yolo11n.pt", "clip/last.pt", "out")]
    output = smaller("words.py", "['ARGS']['imgsz'] = 64", *arguments, cwd=tmp_path, preloaded="ultralytics")
    rows = re.findall(r"^\| (from scratch|its classes alone) \| (\d) \| ([\d.]+) \| ([\d.e-]+) \|$", output, re.M)
    assert [row[:2] for row in rows] == [
        *(("from scratch", str(i)) for i in range(1, 6)), *(("its classes alone", str(i)) for i in range(1, 4))
    ]  # fmt: skip
    (shape, boxes, scores) = re.search(r"output \((.+)\): boxes differ by (\S+) px, scores by (\S+)", output).groups()
    assert shape == "1, 6, 2100"
    assert float(boxes) < 0.05
    assert float(scores) < 1e-3
