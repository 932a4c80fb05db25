"""scripts/captions.py, clip_curves.py and clip_speed.py."""

import csv
import re
import sys

import cv2
import pytest
from conftest import ROOT, run

SCRIPTS = ROOT / "scripts"


def script(name, *arguments, cwd):
    return run(sys.executable, SCRIPTS / name, *arguments, cwd=cwd, OMP_NUM_THREADS="1").stdout


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    script("captions.py", folder, cwd=folder)
    return folder


def test_no_caption_is_in_both_splits(drawn):
    rows = {
        split: list(csv.DictReader((drawn / f"{split}.csv").read_text().splitlines())) for split in ("train", "val")
    }
    captions = {split: [row["caption"] for row in of_split] for split, of_split in rows.items()}
    assert len(captions["val"]) == len(set(captions["val"])) == 200
    assert len(captions["train"]) == 16 * len(set(captions["train"])) == 16 * 904
    assert not set(captions["train"]) & set(captions["val"])
    for caption in captions["val"]:
        assert re.fullmatch(r"a (\w+) (\w+) (above|left of) a (\w+) (\w+)", caption)
    assert all((drawn / row["image"]).is_file() for row in [*rows["val"], *rows["train"]])


@pytest.mark.parametrize(("colour", "bgr"), [("red", (40, 40, 220)), ("blue", (220, 90, 40))])
def test_images_show_what_captions_say(drawn, colour, bgr):
    """The first thing lies in the upper or the left half, the second one opposite."""
    seen = 0
    for row in csv.DictReader((drawn / "val.csv").read_text().splitlines()):
        first, place, second = re.fullmatch(r"a (\w+) \w+ (above|left of) a (\w+) \w+", row["caption"]).groups()
        if (first == colour) == (second == colour):
            continue
        image = cv2.imread(str(drawn / row["image"])).astype(int)
        near = (abs(image - bgr).max(2) < 45).nonzero()
        middle = near[0 if place == "above" else 1].mean()
        assert (middle < 32) == (first == colour), row
        seen += 1
    assert seen > 20


def test_curves(tmp_path):
    for kind in ("clip", "diffclip"):
        for seed in range(2):
            folder = tmp_path / f"{kind}-{seed}"
            folder.mkdir()
            names = [f"{way}/R@{k}" for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)]
            with open(folder / "metrics.csv", "w", newline="") as f:
                writer = csv.writer(f)
                writer.writerow(("epoch", "loss", *names))
                writer.writerows((epoch, 1 / (epoch + 1), *[0.25 * (epoch + 1)] * 6) for epoch in range(3))
    table = script("clip_curves.py", tmp_path, tmp_path / "out.png", cwd=tmp_path).strip().splitlines()
    assert table[2:] == [
        f"| {kind} | {seed} | 0.333 | 0.750, 0.750, 0.750 | 0.750, 0.750, 0.750 |"
        for kind in ("CLIP", "DiffCLIP")
        for seed in range(2)
    ]
    assert cv2.imread(str(tmp_path / "out.png")).std() > 10


def test_speed(tmp_path):
    rows = re.findall(
        r"^\| (\S+), .*? \| (.+?) \| timm's ViT \| ([\d.]+) \|", script("clip_speed.py", 1, 2, cwd=tmp_path), re.M
    )
    assert [row[:2] for row in rows] == [
        (size, name) for size in ("ViT-B/16", "clip-tiny") for name in ("DiffCLIP", "CLIP", "timm's ViT again")
    ]
    assert all(float(row[2]) > 0 for row in rows)
