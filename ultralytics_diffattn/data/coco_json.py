# Ultralytics DiffAttn - AGPL-3.0 License
"""Reads COCO JSON files: one, or those of several splits beside each other, and finds their images."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeGuard

from ultralytics.data.utils import IMG_FORMATS
from ultralytics.utils import LOGGER

from ultralytics_diffattn.data import coco_images, coco_relative, splits
from ultralytics_diffattn.data.annotations import (
    KEPT,
    AnnotatedImage,
    Annotations,
    Box,
    Issue,
    PoseKeys,
    is_true,
    numbers,
    plain,
    size_of,
)
from ultralytics_diffattn.errors import UserError

Row = dict[str, Any]  # of a stranger's JSON: any keys, any values
Key = int | float | str  # an id that can be looked up
TASKS = {"detect": "instances", "segment": "instances", "pose": "keypoints"}  # and how COCO calls its file


class Content(TypedDict):
    """What a COCO JSON must hold: three lists, of anything."""

    images: list[Any]
    annotations: list[Any]
    categories: list[Any]


class Images(NamedTuple):
    """The images of a COCO JSON.

    Attributes:
        by_id (dict[Key, AnnotatedImage]): Still without boxes.
        guessed (set[str]): Names of those that were found by the last part of their names alone.
        first_id (dict[Key, Key]): Of an image that is listed twice, its first id by its second.
        ambiguous (set[Key]): Ids that two images have.
    """

    by_id: dict[Key, AnnotatedImage]
    guessed: set[str]
    first_id: dict[Key, Key]
    ambiguous: set[Key]


def family(source: Path, task: str = "detect") -> list[Path]:
    """Return the JSON files that make one data set with a file, or those of a folder's annotations/.

    Args:
        source (Path): A JSON file, or a folder with annotations/*.json or *.json.
        task (str): Chooses between `instances_*.json` and `person_keypoints_*.json` in one folder.

    Returns:
        (list[Path]): One file, or files that differ only in their split: `instances_train2017.json` and
            `instances_val2017.json`, or `train/_annotations.coco.json` and `valid/_annotations.coco.json`.

    Raises:
        UserError: If a folder has several families of JSON files and none is for the task.

    Examples:
        >>> family(Path("coco/annotations/instances_val2017.json"))
        [PosixPath('coco/annotations/instances_val2017.json')]
    """
    if source.is_file() or source.suffix.lower() == ".json":
        if splits.PATTERN.search(source.stem):
            siblings = (f for f in sorted(source.parent.glob("*.json")) if splits.PATTERN.search(f.stem))
            return [f for f in siblings if _without_split(f) == _without_split(source)] or [source]
        if splits.PATTERN.fullmatch(source.parent.name):  # one folder for each split
            beside = [f for d in sorted(source.parent.parent.iterdir()) if (f := d / source.name).is_file()]
            for file in beside:
                if not splits.PATTERN.fullmatch(file.parent.name):
                    LOGGER.warning(f"{file} is in the folder of no split that is known: it is not read.")
            return [f for f in beside if splits.PATTERN.fullmatch(f.parent.name)]
        return [source]
    folders = (
        source / "annotations",
        source,
        *(d for d in source.iterdir() if d.is_dir() and splits.PATTERN.fullmatch(d.name)),
    )
    jsons = next((jsons for d in folders if (jsons := sorted(d.glob("*.json")))), [])
    families = {_without_split(f): f for f in jsons}
    if len(families) > 1:
        families = {root: f for root, f in families.items() if TASKS.get(task, "instances") in root} or families
    if len(families) > 1:
        names = ", ".join(str(f.relative_to(source)) for f in families.values())
        raise UserError(f"{source} has several annotations, {names}: give the path of the JSON file that is meant.")
    return family(next(iter(families.values())), task) if families else []


def files(jsons: list[Path]) -> list[str]:
    """Return the files that a data set consists of: the JSON files, and the images in the usual folders.

    Args:
        jsons (list[Path]): As from `family`.

    Returns:
        (list[str]): Paths; a change of one makes another data set.
    """
    paths, seen = [os.fspath(file) for file in jsons], set()
    for root in (folder for file in jsons for folder in coco_images.folders(file)):
        for folder, subfolders, names in os.walk(root):
            if folder not in seen:
                paths += (os.path.join(folder, n) for n in names if n.rpartition(".")[2].lower() in IMG_FORMATS)
            if folder in seen or any(root in (file.parent, file.parent.parent) for file in jsons):
                subfolders.clear()  # the folder of a JSON may be anything, a home folder for one
            seen.add(folder)
    return sorted(paths)


def read(jsons: list[Path], task: str = "detect") -> Annotations:
    """Return the annotations of COCO JSON files.

    Args:
        jsons (list[Path]): As from `family`.
        task (str): `detect`, `segment` or `pose`.

    Returns:
        (Annotations): Classes in the order of their ids, and what stands in the files; `crowd` boxes are left out, as
            ultralytics does.

    Raises:
        UserError: If a file is no COCO JSON, or the task is another one.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "cats.json"
        >>> _ = file.write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}')
        >>> read(family(file)).names
        ['cat']
    """
    if task not in TASKS:
        raise UserError(f"{jsons[0]} is a COCO JSON, which serves task={', '.join(TASKS)}, not task={task}.")
    issues: list[Issue] = []
    classes: dict[str, Row] = {}
    found: list[tuple[AnnotatedImage, bool]] = []
    declared = [coco_images.split_name(file)[0] for file in jsons] if len(jsons) > 1 else [None]
    for file, split in zip(jsons, declared, strict=True):
        content = _load(file)
        names, category_issues = _categories(file, content["categories"], classes)
        of_file, image_issues, guessed = _annotated_images(file, content, names, split)
        found += [(image, image.name in guessed) for image in of_file]
        issues += category_issues + image_issues
    images, guess_issues = coco_images.settle(found)
    images, split_issues = splits.resolve(images, str(jsons[0]), declared)
    issues += guess_issues + split_issues
    count = Counter(image.path for image in images if image.path)
    issues += (Issue(i.file, i.name, "listed more than once", KEPT) for i in images if i.path and count[i.path] > 1)
    if task != "pose":
        return Annotations(list(classes), images, issues)
    pose, pose_issues = _pose_keys(classes, images)
    return Annotations(list(classes), images, issues + pose_issues, pose)


def _without_split(file: Path) -> str:
    """Return the name of a file without its split."""
    return splits.PATTERN.sub(r"\2", file.stem)


def _load(file: Path) -> Content:
    """Return the content of a file that looks like COCO's."""
    if not file.is_file():  # such as a pipe, which one would wait for
        raise UserError(f"{file} is a broken link, or no file.")
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{file} is not readable as JSON: {error}") from None
    if not _is_content(data):
        keys = (k for k in Content.__annotations__ if not isinstance(data, dict) or not isinstance(data.get(k), list))
        raise UserError(f"{file} is no COCO JSON: it has no list of {', '.join(keys)}.")
    return data


def _is_content(data: object) -> TypeGuard[Content]:
    """Return whether a value of a JSON holds the lists of a COCO JSON."""
    return isinstance(data, dict) and all(isinstance(data.get(key), list) for key in Content.__annotations__)


def _rows(values: list[Any]) -> list[Row]:
    """Return the items of a list, an empty one for each that is no mapping."""
    return [value if isinstance(value, dict) else {} for value in values]


def _key(value: object) -> Key | None:
    """Return an id that can be looked up, or None: 1, "1", 1.0 and " 1.0 " are the same."""
    if isinstance(value, str):
        value = value.strip()
        return int(value.partition(".")[0]) if re.fullmatch(r"\d{1,18}(\.0+)?", value) else value
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    """Return a value for a message; a list may be too deep, or too long, to be one."""
    return plain(str(value)) if isinstance(value, str | int | float | None) else type(value).__name__


def _categories(file: Path, values: list[Any], classes: dict[str, Row]) -> tuple[dict[Key, str], list[Issue]]:
    """Return the names of the categories by id and what is wrong with them, and add their rows to `classes`."""
    names: dict[Key, str] = {}
    issues: list[Issue] = []
    rows = _rows(values)
    for row in sorted(rows, key=lambda r: (not isinstance(_key(r.get("id")), int), _text(r.get("id")).zfill(20))):
        key, name = _key(row.get("id")), "" if row.get("name") is None else _text(row["name"])
        item = f"category {_text(row.get('id'))} {name}".strip()
        if key is None or not name:
            issues.append(Issue(file.name, item, "category without a name" if key is not None else "no usable id"))
        elif key in names and names[key] != name:
            issues.append(Issue(file.name, item, f"its id is that of the category {names[key]}, too"))
        else:
            if name in names.values():
                issues.append(Issue(file.name, item, "several categories of that name, put together", KEPT))
            names[key] = name
            classes.setdefault(name, row)
    return names, issues


def _annotated_images(
    file: Path, content: Content, names: dict[Key, str], split: str | None
) -> tuple[list[AnnotatedImage], list[Issue], set[str]]:
    """Return the images of a file with their boxes, what is wrong with others, and which images were guessed."""
    images, issues = _images(file, content["images"], split)
    rows = _rows(content["annotations"])
    relative = coco_relative.is_relative(file, [row.get("bbox") for row in rows])
    if relative:
        issues.append(Issue(file.name, "", "all boxes lie in 0 to 1: taken as parts of width and height", KEPT))
    for i, row in enumerate(rows):
        item = f"annotation {_text(row.get('id', f'at place {i}'))}"
        key, category = _key(row.get("image_id")), _key(row.get("category_id"))
        image = None if key is None else images.by_id.get(images.first_id.get(key, key))
        xywh = numbers(row.get("bbox"), 4)
        if image is None:
            issues.append(Issue(file.name, item, f"of an unknown image {_text(row.get('image_id'))}"))
        elif key in images.ambiguous:
            issues.append(Issue(file.name, item, f"of image id {key}, which two images have"))
        elif category is None or category not in names:
            issues.append(Issue(file.name, item, f"of an unknown category {_text(row.get('category_id'))}"))
        elif is_true(row.get("iscrowd")):
            issues.append(Issue(file.name, item, "crowd"))
        elif xywh is None:
            issues.append(Issue(file.name, item, "bbox is not four finite numbers"))
        else:
            x, y, w, h = xywh
            box = Box(item, names[category], (x, y, x + w, y + h), row.get("segmentation"), row.get("keypoints"))
            image.boxes.append(box)
    sound = [image for key, image in images.by_id.items() if key not in images.ambiguous]
    if relative:
        sound = [image._replace(boxes=coco_relative.in_pixels(image)) for image in sound]
    return sound, issues, images.guessed


def _images(file: Path, values: list[Any], split: str | None) -> tuple[Images, list[Issue]]:
    """Return the images of a file, still without boxes, and what is wrong with others."""
    images = Images({}, set(), {}, set())
    issues: list[Issue] = []
    id_of: dict[str, Key] = {}  # by file_name
    folders = coco_images.folders(file)
    for row in _rows(values):
        key, name = _key(row.get("id")), row.get("file_name")
        item = f"image {_text(row.get('id'))}"
        if key is None:
            issues.append(Issue(file.name, item, "image without an id"))
        elif not isinstance(name, str) or not name.strip():
            issues.append(Issue(file.name, item, "image without a file_name"))
        elif key in images.by_id and images.by_id[key].name != name:
            issues.append(Issue(file.name, item, f"id of both {images.by_id[key].name} and {name}: both left out"))
            images.ambiguous.add(key)
        elif name in id_of:
            issues.append(Issue(file.name, item, f"{name} is listed more than once: boxes put together", KEPT))
            images.first_id[key] = id_of[name]
        else:
            found = coco_images.find(name, folders)
            path = found.path if found else None
            if found and found.others:
                text = f"{found.others} other images of that name: {path} is taken"
                issues.append(Issue(file.name, name, text, KEPT))
            if found and found.guessed:
                images.guessed.add(name)
            size = size_of(row.get("width"), row.get("height"))
            images.by_id[key], id_of[name] = AnnotatedImage(file.name, name, path, size, split, []), key
    return images, issues


def _pose_keys(classes: dict[str, Row], images: list[AnnotatedImage]) -> tuple[PoseKeys, list[Issue]]:
    """Return what the data YAML needs for task=pose, after removing the boxes with another number of keypoints."""
    lengths = Counter(len(k) for image in images for box in image.boxes if isinstance(k := box.keypoints, list) and k)
    length = next((n for n, _ in lengths.most_common() if n % 3 == 0), 0)
    if not length:
        raise UserError("No annotation has keypoints, rows of x, y, visibility: use task=detect, not task=pose.")
    issues: list[Issue] = []
    for image in images:
        for box in [*image.boxes]:
            if isinstance(box.keypoints, list) and len(box.keypoints) not in (0, length):
                issues.append(Issue(image.file, box.item, f"{len(box.keypoints)} numbers of keypoints, not {length}"))
                image.boxes.remove(box)
    pose: PoseKeys = {"kpt_shape": [length // 3, 3]}
    labels: list[object] = next((c["keypoints"] for c in classes.values() if isinstance(c.get("keypoints"), list)), [])
    names = [_text(label) for label in labels]
    if len(names) == length // 3 and any("left" in n for n in names):  # else ultralytics does without flips
        swap = {"left": "right", "right": "left"}
        mirrored = [re.sub("left|right", lambda m: swap[m[0]], n) for n in names]
        pose["flip_idx"] = [names.index(m) if m in names else i for i, m in enumerate(mirrored)]
    return pose, issues
