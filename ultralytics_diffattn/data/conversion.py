# Ultralytics DiffAttn - AGPL-3.0 License
"""Converts PASCAL VOC folders and COCO JSON files into Ultralytics layout, once, with an account of what was broken."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import yaml
from ultralytics.data.converter import convert_coco
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER, SETTINGS

from ultralytics_diffattn.data import coco_json, voc
from ultralytics_diffattn.data.cleaning import Broken, Picture, Source, clean, plain, repaired

FORMAT = 2  # part of the hash: raise it when a conversion would turn out differently
VAL = 0.2  # share of val where the source has no split


def convert(source: str | Path, task: str = "detect") -> Path:
    """Convert a data set into `<datasets_dir>/diffattn/<name>-<hash>`, or find it there.

    Images are linked, not copied. Beside `data.yaml`, `counts.json` counts images and boxes, and `broken.csv` lists
    what was left out or altered. The hash is of the place of the source, and of the names, sizes and times of its
    files: a changed source is converted anew.

    Args:
        source (str | Path): A folder in PASCAL VOC layout, a COCO JSON, or a folder with annotations/*.json.
        task (str): `detect`, or of a COCO JSON `segment` or `pose`, too.

    Returns:
        (Path): The data YAML.

    Raises:
        FileNotFoundError: If there is nothing to convert, or no usable image.
        ValueError: If the source cannot be read or does not serve the task.
        FileExistsError: If something else is in the way.

    Examples:
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> rows = [{"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in range(5)]
        >>> for row in rows:
        ...     Image.new("RGB", (64, 48)).save(root / row["file_name"])
        >>> boxes = [{"image_id": i, "category_id": 1, "bbox": [8, 6, 32, 24]} for i in range(5)]
        >>> cats = {"images": rows, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
        >>> _ = (root / "cats.json").write_text(json.dumps(cats))
        >>> sorted(f.name for f in convert(root / "cats.json").parent.iterdir())
        ['broken.csv', 'counts.json', 'data.yaml', 'images', 'labels']
    """
    source = Path(source).resolve()
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist.")
    reader, files = (voc, source) if voc.is_voc(source) else (coco_json, coco_json.family(source, task))
    if not files:
        raise FileNotFoundError(f"{source} has neither Annotations/*.xml (PASCAL VOC) nor annotations/*.json (COCO).")
    place = source.parent if source.is_file() else source
    if source.is_file() and place.name.lower() == "annotations":
        place = place.parent  # coco/annotations/instances_val2017.json is "coco"
    name = re.sub(r"[^\w.-]+", "_", place.name).strip("._")[:50] or "data"
    root = Path(SETTINGS["datasets_dir"]) / "diffattn" / f"{name}-{_hash(source, reader.files(files), task)}"
    if not (root / "data.yaml").is_file():
        _convert(reader.read(files, task), source, task, root)
    LOGGER.info(f"{source} in Ultralytics layout: {root}")
    return root / "data.yaml"


def _hash(source: Path, files: list[str], task: str) -> str:
    """Return 10 digits that change with the source; its place is part of it because images are linked."""
    digest = hashlib.sha256(f"{FORMAT} {task} {source}".encode())
    for file in files:
        image = file.rpartition(".")[2].lower() in IMG_FORMATS
        try:
            size, time = os.stat(file).st_size, "" if image else os.stat(file).st_mtime_ns  # copies of an image differ
        except OSError:  # a broken link; broken.csv will say it
            size, time = -1, ""
        digest.update(f"\n{file} {size} {time}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:10]


def _convert(source: Source, place: Path, task: str, root: Path) -> None:
    """Write a data set beside its place and move it there when it is whole."""
    pictures, broken = clean(source.pictures, task)
    broken = source.broken + broken
    own_split = all(p.split for p in pictures)
    splits = _split(pictures)
    if not all(splits.values()):
        raise FileNotFoundError(
            f"{place} has {len(splits['train'])} usable images to train and {len(splits['val'])} to validate, of "
            f"{len(source.pictures)} that are annotated: at least one of each is needed. Images belong into "
            "JPEGImages/ (VOC), or beside the JSON, into images/, <split>/ or images/<split>/ (COCO)."
            f"{_first(broken)}"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        counts = _write(splits, source.names, task, draft)
        with open(draft / "set" / "broken.csv", "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            csv.writer(file).writerows([Broken._fields, *broken])
        counts["split"] = "the source's own" if own_split else f"by a hash of the names, {VAL:.0%} to val"
        counts["broken"] = dict(Counter(row.done for row in broken))
        (draft / "set" / "counts.json").write_text(json.dumps(counts, indent=1), encoding="utf-8")
        names = dict(enumerate(source.names))
        data = {"train": "images/train", "val": "images/val", "names": names, **source.more}  # no path: where it lies
        text = f"# converted from {str(place)!r} by ultralytics-diffattn\n"  # a line break there would be a key here
        text += yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        (draft / "set" / "data.yaml").write_text(text, encoding="utf-8")
        try:
            os.replace(draft / "set", root)
        except OSError:
            if not (root / "data.yaml").is_file():  # else another process was faster
                raise FileExistsError(f"{root} is not a converted data set: move it away, and try again.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _report(place, counts, broken, root)


def _split(pictures: list[Picture]) -> dict[str, list[Picture]]:
    """Return the pictures of train and val: as they say themselves, else by a hash of their names."""
    if not all(p.split for p in pictures):
        order = sorted(pictures, key=lambda p: hashlib.sha256(p.name.encode(errors="surrogateescape")).digest())
        count = max(1, round(VAL * len(order)))
        pictures = [p._replace(split="val" if i < count else "train") for i, p in enumerate(order)]
    return {s: sorted((p for p in pictures if p.split == s), key=lambda p: p.name) for s in ("train", "val")}


def _write(splits: dict[str, list[Picture]], names: list[str], task: str, draft: Path) -> dict:
    """Write images and labels into draft/set and return their counts."""
    (draft / "json").mkdir()
    number = {name: i for i, name in enumerate(names, 1)}
    for split, pictures in splits.items():
        images = [
            {"id": i, "file_name": name, "width": picture.size[0], "height": picture.size[1]}
            for i, (name, picture) in enumerate(_file_names(pictures).items())
        ]
        annotations = []
        for i, picture in enumerate(pictures):
            for box in picture.boxes:
                x1, y1, x2, y2 = box.xyxy
                row = {"image_id": i, "category_id": number[box.name], "bbox": [x1, y1, x2 - x1, y2 - y1]}
                shape = {"segment": {"segmentation": box.segmentation}, "pose": {"keypoints": box.keypoints}}
                annotations.append(row | shape.get(task, {}))
        content = json.dumps({"images": images, "annotations": annotations})
        (draft / "json" / f"{split}.json").write_text(content, encoding="utf-8")
    level = LOGGER.level
    LOGGER.setLevel(logging.WARNING)  # it would report the draft as its result
    try:
        convert_coco(draft / "json", draft / "set", task == "segment", task == "pose", cls91to80=False)
    finally:
        LOGGER.setLevel(level)
    counts: dict = {}
    for split, pictures in splits.items():
        labels, images = (draft / "set" / kind / split for kind in ("labels", "images"))
        labels.mkdir(exist_ok=True)
        images.mkdir()
        for name, picture in _file_names(pictures).items():
            _link(picture.path, images / name)
        written = Counter(names[int(row.split()[0])] for f in labels.iterdir() for row in f.read_text().splitlines())
        expected = Counter(box.name for picture in pictures for box in picture.boxes)
        if written != expected:
            raise RuntimeError(
                f"ultralytics' convert_coco wrote other boxes than it was given: {written - expected} "
                f"too many, {expected - written} missing. Please report this."
            )
        counts[split] = {"images": len(pictures), "boxes": written.total(), "classes": {n: written[n] for n in names}}
    return counts


def _file_names(pictures: list[Picture]) -> dict[str, Picture]:
    """Return the pictures by names that make no two label files the same and that ultralytics takes for images."""
    named: dict[str, Picture] = {}
    stems = set()
    for picture in pictures:
        parts = Path(picture.name.replace("\\", "/")).parts  # with the folders that tell set1/1.jpg from set2/1.jpg
        parts = parts if picture.path.parts[-len(parts) :] == parts else (picture.path.name,)
        stem = Path("_".join(p for p in parts if p != "..")).stem
        stem = os.fsencode(stem)[:200].decode(errors="ignore")  # file systems take 255 bytes
        unique, i = stem, 1
        while unique.lower() in stems:  # a.jpg and a.png have the same label file
            i += 1
            unique = f"{stem}-{i}"
        stems.add(unique.lower())
        suffix = picture.path.suffix
        named[unique + (suffix if suffix[1:].lower() in IMG_FORMATS else ".jpg")] = picture
    return named


def _link(image: Path, target: Path) -> None:
    """Link an image, or copy it where that is not possible, or where ultralytics would repair the original."""
    ways = [shutil.copyfile] if repaired(image) else [os.symlink, os.link, shutil.copyfile]
    for way in ways:
        try:
            way(image.resolve(), target)
            return
        except OSError:
            if way is ways[-1]:
                raise


def _first(broken: list[Broken], count: int = 10) -> str:
    """Return the first broken annotations as text."""
    rows = [
        f"\n  {plain(' '.join(filter(None, row[:2])))}: {plain(row.problem)} ({row.done})" for row in broken[:count]
    ]
    return "".join(rows) + (f"\n  and {len(broken) - count} more" if len(broken) > count else "")


def _report(place: Path, counts: dict, broken: list[Broken], root: Path) -> None:
    """Log what was converted, and what was broken."""
    splits = ", ".join(f"{s} {counts[s]['images']} images with {counts[s]['boxes']} boxes" for s in ("train", "val"))
    classes = (f"{n} {c}/{counts['val']['classes'][n]}" for n, c in counts["train"]["classes"].items())
    LOGGER.info(f"{place} converted: {splits}; split: {counts['split']}; train/val of {', '.join(classes)}")
    if broken:
        LOGGER.warning(
            f"{len(broken)} broken annotations, all of them in {root / 'broken.csv'} (once they are mended, the data "
            f"set is converted anew); the first:{_first(broken)}"
        )
