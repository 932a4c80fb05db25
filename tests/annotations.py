"""Small data sets in Ultralytics and PASCAL VOC layout and as COCO JSON, sound unless a test spoils them."""

import csv
import io
import json

import numpy as np
import yaml
from PIL import Image

W, H = 64, 48
GOOD = (8, 6, 40, 30)  # as edges; the same as (8, 6, 32, 24) in COCO's way


def image(path, size=(W, H)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)
    return path


def xml(objects, size=(W, H), filename="", head=""):
    rows = "".join(
        f"<object><name>{name}</name>{more}<bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin><xmax>{b[2]}</xmax>"
        f"<ymax>{b[3]}</ymax></bndbox></object>"
        for name, b, more in (row if len(row) == 3 else (*row, "") for row in objects)
    )
    size = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"{head}<annotation><filename>{filename}</filename>{size}{rows}</annotation>"


def voc_folder(root, annotations, lists=None):
    """Write a VOC folder of {stem: XML}, an image for each, and lists."""
    for stem, text in annotations.items():
        image(root / "JPEGImages" / f"{stem}.jpg")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{stem}.xml").write_text(text)
    for name, stems in (lists or {}).items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{s}\n" for s in stems))
    return root


SOUND = xml([("cat", GOOD)])


def voc_with(text, root):
    """Write a VOC folder whose image x is annotated by this XML, beside two sound ones."""
    annotations = {"a": SOUND, "b": SOUND, "x": text}
    return voc_folder(root, annotations, {"train": ["a", "x"], "val": ["b"]})


def coco(annotations, images=None, categories=None):
    """Return a COCO dict with image 7 (a.jpg), image 8 (b.jpg) and categories 3 and 5, unless others are passed."""
    images = [("a.jpg", 7), ("b.jpg", 8)] if images is None else images
    return {
        "images": [{"id": i, "file_name": n, "width": W, "height": H} for n, i in images],
        "annotations": [
            {"id": k, "image_id": 7, "category_id": 5, "bbox": [8, 6, 32, 24], **a} for k, a in enumerate(annotations)
        ],
        "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}] if categories is None else categories,
    }


def coco_folder(root, train, val=None, names=("instances_train2017.json", "instances_val2017.json")):
    """Write annotations/ of train and val (by default one sound image) and their images/train2017, images/val2017."""
    val = coco([{}], [("v.jpg", 7)]) if val is None else val
    (root / "annotations").mkdir(parents=True)
    for data, name, split in zip((train, val), names, ("train2017", "val2017"), strict=True):
        (root / "annotations" / name).write_text(data if isinstance(data, str) else json.dumps(data))
        for row in data["images"] if isinstance(data, dict) else []:
            if isinstance(row, dict) and isinstance(row.get("file_name"), str) and row["file_name"].strip():
                image(root / "images" / split / row["file_name"])
    return root


def jpeg(size=(32, 24)):
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "JPEG")
    return stream.getvalue()


def data_set(root, train=2, val=1, label="0 0.5 0.5 0.5 0.5\n", head="", names=("a", "b")):
    """Write a data set in Ultralytics layout and return its data YAML."""
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for i in range(count):
            (root / "images" / split / f"{i}.jpg").write_bytes(jpeg())
            (root / "labels" / split / f"{i}.txt").write_text(label)
    content = yaml.safe_dump({"train": "images/train", "val": "images/val", "names": dict(enumerate(names))})
    (root / "data.yaml").write_text(head + content)
    return root / "data.yaml"


def broken(data_yaml):
    """Return the rows of a converted data set's broken.csv."""
    with open(data_yaml.parent / "broken.csv", newline="") as file:
        return list(csv.DictReader(file))


def labels(data_yaml, split="train"):
    """Return the rows of the label files by stem, as numbers."""
    files = sorted((data_yaml.parent / "labels" / split).glob("*.txt"))
    return {f.stem: [[float(v) for v in row.split()] for row in f.read_text().splitlines()] for f in files}
