# Ultralytics DiffAttn - AGPL-3.0 License
"""Converts PASCAL VOC folders and COCO JSON files into Ultralytics layout, once, with an account of what was broken."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import yaml
from ultralytics.data.converter import convert_coco
from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER, SETTINGS

from ultralytics_diffattn.data import coco_json, voc
from ultralytics_diffattn.data.annotations import Annotations, Issue, UsableImage, plain
from ultralytics_diffattn.data.cleaning import clean, will_be_repaired
from ultralytics_diffattn.data.splits import VAL, assign
from ultralytics_diffattn.errors import ExistingFileError, MissingFileError

HEADER = "# converted from {} by ultralytics-diffattn"  # the first line of a data YAML
FORMAT = 4  # part of the hash: raise it when a conversion would turn out differently


class SplitCounts(TypedDict):
    """The number of images of a split, of all their boxes, and of the boxes of each class."""

    images: int
    boxes: int
    classes: dict[str, int]


class Counts(NamedTuple):
    """What `counts.json` holds.

    Attributes:
        splits (dict[str, SplitCounts]): Counts of train, of val and, where the source has one, of test.
        split (str): Where the splits come from.
        broken (dict[str, int]): The number of issues by what was done.
    """

    splits: dict[str, SplitCounts]
    split: str
    broken: dict[str, int]


def convert(source: str | Path, task: str = "detect") -> Path:
    """Return the data YAML of a data set in Ultralytics layout, which is converted unless it was before.

    It lies in `<datasets_dir>/diffattn/<name>-<hash>`. Images are linked, not copied. Beside `data.yaml`, `counts.json`
    counts images and boxes, and `broken.csv` lists what was left out or altered. The hash is of the path of the source,
    and of the names, sizes and times of its files: a changed source is converted anew.

    Args:
        source (str | Path): A folder in PASCAL VOC layout, a COCO JSON, or a folder with annotations/*.json.
        task (str): `detect`, or of a COCO JSON `segment` or `pose`, too.

    Returns:
        (Path): The data YAML.

    Raises:
        MissingFileError: If there is nothing to convert, or no usable image.
        UserError: If the source cannot be read or does not serve the task.
        ExistingFileError: If something else is in the way.

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
        raise MissingFileError(f"{source} does not exist.")
    read: Callable[[], Annotations]
    if voc.is_voc(source):
        read, files = partial(voc.read, source, task), voc.files(source)
    elif jsons := coco_json.family(source, task):
        read, files = partial(coco_json.read, jsons, task), coco_json.files(jsons)
    else:
        raise MissingFileError(f"{source} has neither Annotations/*.xml (PASCAL VOC) nor annotations/*.json (COCO).")
    root = Path(SETTINGS["datasets_dir"]) / "diffattn" / f"{_name(source)}-{_hash(source, files, task)}"
    if not (root / "data.yaml").is_file():
        _convert(read(), source, task, root)
    LOGGER.info(f"{source} in Ultralytics layout: {root}")
    return root / "data.yaml"


def source_of(data_yaml: Path) -> Path | None:
    """Return what a data set was converted from.

    Args:
        data_yaml (Path): Any data YAML.

    Returns:
        (Path | None): The folder or the JSON; None for one that `convert` has not written.

    Examples:
        >>> source_of(Path("data.yaml")) is None
        True
    """
    try:
        with open(data_yaml, encoding="utf-8") as file:
            match = re.match(HEADER.format("(.+)"), file.readline())
        return Path(ast.literal_eval(match[1])) if match else None
    except (OSError, ValueError, SyntaxError):
        return None


def _name(source: Path) -> str:
    """Return a name for a folder: that of the source."""
    folder = source.parent if source.is_file() else source
    if source.is_file() and folder.name.lower() == "annotations":
        folder = folder.parent  # coco/annotations/instances_val2017.json is "coco"
    return re.sub(r"[^\w.-]+", "_", folder.name).strip("._")[:50] or "data"


def _hash(source: Path, files: list[str], task: str) -> str:
    """Return 10 digits that change with the source; its path is part of it because images are linked."""
    digest = hashlib.sha256(f"{FORMAT} {task} {source}".encode())
    for file in files:
        is_image = file.rpartition(".")[2].lower() in IMG_FORMATS
        time: int | str
        try:
            size, time = os.stat(file).st_size, "" if is_image else os.stat(file).st_mtime_ns  # that of copies differs
        except OSError:  # a broken link; broken.csv will say it
            size, time = -1, ""
        digest.update(f"\n{file} {size} {time}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:10]


def _convert(annotations: Annotations, source: Path, task: str, root: Path) -> None:
    """Write a data set beside its root, move it there when it is whole, and log what it holds."""
    images, issues = clean(annotations.images, task)
    issues = annotations.issues + issues
    splits = assign(images)
    if not splits["train"] or not splits["val"]:
        raise MissingFileError(
            f"{source} has {len(splits['train'])} usable images to train and {len(splits['val'])} to validate, of "
            f"{len(annotations.images)} that are annotated: at least one of each is needed. Images belong into "
            "JPEGImages/ (VOC), or beside the JSON, into images/, <split>/ or images/<split>/ (COCO)."
            f"{_first(issues)}"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        _write_labels(splits, annotations.names, task, draft)
        counts = Counts(
            {s: _link_images(i, annotations.names, draft / "set", s) for s, i in splits.items() if i},
            "the source's own" if all(i.split for i in images) else f"by a hash of the names, {VAL:.0%} to val",
            dict(Counter(issue.done for issue in issues)),
        )
        _write_records(annotations, source, issues, counts, draft / "set")
        try:
            os.replace(draft / "set", root)
        except OSError:
            if not (root / "data.yaml").is_file():  # else another process was faster
                raise ExistingFileError(f"{root} is not a converted data set: move it away, and try again.") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _log(source, counts, issues, root)


def _write_labels(splits: Mapping[str, list[UsableImage]], names: list[str], task: str, draft: Path) -> None:
    """Write COCO JSONs of sound boxes into draft/json, and have ultralytics write draft/set/labels from them."""
    (draft / "json").mkdir()
    category = {name: i for i, name in enumerate(names, 1)}
    for split, images in splits.items():
        if not images:
            continue
        rows = [
            {"id": i, "file_name": name, "width": image.size[0], "height": image.size[1]}
            for i, (name, image) in enumerate(_file_names(images).items())
        ]
        annotations: list[dict[str, Any]] = []
        for i, image in enumerate(images):
            for box in image.boxes:
                x1, y1, x2, y2 = box.xyxy
                row = {"image_id": i, "category_id": category[box.name], "bbox": [x1, y1, x2 - x1, y2 - y1]}
                shape = {"segment": {"segmentation": box.segmentation}, "pose": {"keypoints": box.keypoints}}
                annotations.append(row | shape.get(task, {}))
        content = json.dumps({"images": rows, "annotations": annotations})
        (draft / "json" / f"{split}.json").write_text(content, encoding="utf-8")
    level = LOGGER.level
    LOGGER.setLevel(logging.WARNING)  # it would report the draft as its result
    try:
        convert_coco(str(draft / "json"), str(draft / "set"), task == "segment", task == "pose", cls91to80=False)
    finally:
        LOGGER.setLevel(level)


def _link_images(images: list[UsableImage], names: list[str], folder: Path, split: str) -> SplitCounts:
    """Link the images of a split beside their labels, and return the counts of what the labels hold."""
    labels = folder / "labels" / split
    labels.mkdir(exist_ok=True)
    (folder / "images" / split).mkdir()
    for name, image in _file_names(images).items():
        _link(image.path, folder / "images" / split / name)
    written = Counter(names[int(row.split()[0])] for f in labels.iterdir() for row in f.read_text().splitlines())
    expected = Counter(box.name for image in images for box in image.boxes)
    if written != expected:
        raise RuntimeError(
            f"ultralytics' convert_coco wrote other boxes than it was given: {written - expected} "
            f"too many, {expected - written} missing. Please report this."
        )
    return {"images": len(images), "boxes": written.total(), "classes": {name: written[name] for name in names}}


def _write_records(annotations: Annotations, source: Path, issues: list[Issue], counts: Counts, folder: Path) -> None:
    """Write broken.csv, counts.json and data.yaml."""
    with open(folder / "broken.csv", "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        csv.writer(file).writerows([Issue._fields, *issues])
    content = {**counts.splits, "split": counts.split, "broken": counts.broken}
    (folder / "counts.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    paths = {split: f"images/{split}" for split in counts.splits}  # no path: here
    data = {**paths, "names": dict(enumerate(annotations.names)), **(annotations.pose or {})}
    text = HEADER.format(repr(str(source))) + "\n"  # a line break there would be a key here
    text += yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _file_names(images: list[UsableImage]) -> dict[str, UsableImage]:
    """Return the images by names that make no two label files the same and that ultralytics takes for images."""
    named: dict[str, UsableImage] = {}
    stems: set[str] = set()
    for image in images:
        parts = Path(image.name.replace("\\", "/")).parts  # with the folders that tell set1/1.jpg from set2/1.jpg
        parts = parts if image.path.parts[-len(parts) :] == parts else (image.path.name,)
        stem = Path("_".join(p for p in parts if p != "..")).stem
        stem = os.fsencode(stem)[:200].decode(errors="ignore")  # file systems take 255 bytes
        unique, i = stem, 1
        while unique.lower() in stems:  # a.jpg and a.png have the same label file
            i += 1
            unique = f"{stem}-{i}"
        stems.add(unique.lower())
        suffix = image.path.suffix
        named[unique + (suffix if suffix[1:].lower() in IMG_FORMATS else ".jpg")] = image
    return named


def _link(image: Path, target: Path) -> None:
    """Link an image, or copy it where that is not possible, or where ultralytics would repair the original."""
    ways: list[Callable[[Path, Path], Any]] = [os.symlink, os.link, shutil.copyfile]
    for way in [shutil.copyfile] if will_be_repaired(image) else ways:
        try:
            way(image.resolve(), target)
            return
        except OSError:
            if way is shutil.copyfile:
                raise


def _first(issues: list[Issue], count: int = 10) -> str:
    """Return the first issues as lines of a message."""
    rows = [
        f"\n  {plain(' '.join(filter(None, issue[:2])))}: {plain(issue.problem)} ({issue.done})"
        for issue in issues[:count]
    ]
    return "".join(rows) + (f"\n  and {len(issues) - count} more" if len(issues) > count else "")


def _log(source: Path, counts: Counts, issues: list[Issue], root: Path) -> None:
    """Log what was converted, and what was broken."""
    train, val = counts.splits["train"], counts.splits["val"]
    splits = ", ".join(f"{split} {c['images']} images with {c['boxes']} boxes" for split, c in counts.splits.items())
    classes = (f"{name} {count}/{val['classes'][name]}" for name, count in train["classes"].items())
    LOGGER.info(f"{source} converted: {splits}; split: {counts.split}; train/val of {', '.join(classes)}")
    if issues:
        LOGGER.warning(
            f"{len(issues)} broken annotations, all of them in {root / 'broken.csv'} (once they are mended, the data "
            f"set is converted anew); the first:{_first(issues)}"
        )
