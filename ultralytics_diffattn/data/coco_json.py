# Ultralytics DiffAttn - AGPL-3.0 License
"""Reads COCO JSON files: one, or those of several splits beside each other, and finds their images."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from ultralytics.data.utils import IMG_FORMATS

from ultralytics_diffattn.data.cleaning import Box, Broken, Picture, Source, numbers, plain

TASKS = {"detect": "instances", "segment": "instances", "pose": "keypoints"}  # and how COCO calls its file
_SPLIT = re.compile(r"(?<![a-z])(train|validation|valid|val|test)(?![a-z])([-_]?\d*)", re.IGNORECASE)  # train2017


def family(source: Path, task: str = "detect") -> list[Path]:
    """Return the JSON files that make one data set with a file, or those of a folder's annotations/.

    Args:
        source (Path): A JSON file, or a folder with annotations/*.json or *.json.
        task (str): Chooses between `instances_*.json` and `person_keypoints_*.json` in one folder.

    Returns:
        (list): One file, or files that differ only in their split: `instances_train2017.json` and
            `instances_val2017.json`, or `train/_annotations.coco.json` and `valid/_annotations.coco.json`.

    Raises:
        ValueError: If a folder has several families of JSON files and none is for the task.

    Examples:
        >>> family(Path("coco/annotations/instances_val2017.json"))
        [PosixPath('coco/annotations/instances_val2017.json')]
    """
    if source.is_file() or source.suffix.lower() == ".json":
        if _SPLIT.search(source.stem):
            beside = (f for f in sorted(source.parent.glob("*.json")) if _SPLIT.search(f.stem))
            return [f for f in beside if _root(f) == _root(source)] or [source]
        if _SPLIT.fullmatch(source.parent.name):  # one folder for each split
            folders = (d for d in sorted(source.parent.parent.iterdir()) if _SPLIT.fullmatch(d.name))
            return [f for d in folders if (f := d / source.name).is_file()]
        return [source]
    folders = source / "annotations", source, *(d for d in source.iterdir() if d.is_dir() and _SPLIT.fullmatch(d.name))
    found = next((found for d in folders if (found := sorted(d.glob("*.json")))), [])
    families = {_root(f): f for f in found}
    if len(families) > 1:
        families = {root: f for root, f in families.items() if TASKS.get(task, "instances") in root} or families
    if len(families) > 1:
        names = ", ".join(str(f.relative_to(source)) for f in families.values())
        raise ValueError(f"{source} has several annotations, {names}: give the path of the JSON file that is meant.")
    return family(next(iter(families.values())), task) if families else []


def files(jsons: list[Path]) -> list[str]:
    """Return the files whose change makes another data set: the JSON files, and the images in the usual places."""
    found, seen = [os.fspath(file) for file in jsons], set()
    for folder in (folder for file in jsons for folder in _folders(file)):
        for place, subfolders, names in os.walk(folder):
            if place not in seen:
                found += (os.path.join(place, n) for n in names if n.rpartition(".")[2].lower() in IMG_FORMATS)
            if place in seen or any(folder in (file.parent, file.parent.parent) for file in jsons):
                subfolders.clear()  # the folder of a JSON may be anything, a home folder for one
            seen.add(place)
    return sorted(found)


def read(jsons: list[Path], task: str = "detect") -> Source:
    """Read COCO JSON files.

    Args:
        jsons (list): As from `family`.
        task (str): `detect`, `segment` or `pose`.

    Returns:
        (Source): Classes in the order of their ids, and what stands in the files; `crowd` boxes are left out, as
            ultralytics does.

    Raises:
        ValueError: If a file is no COCO JSON, or the task is another one.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "cats.json"
        >>> _ = file.write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}')
        >>> read(family(file)).names
        ['cat']
    """
    if task not in TASKS:
        raise ValueError(f"{jsons[0]} is a COCO JSON, which serves task={', '.join(TASKS)}, not task={task}.")
    broken: list[Broken] = []
    classes: dict[str, dict] = {}
    pictures: list[Picture] = []
    splits = [_split(file) for file in jsons] if len(jsons) > 1 else [None]
    splits = splits if {"train", "val"} <= set(splits) else [None] * len(jsons)
    for file, split in zip(jsons, splits, strict=True):
        data = _load(file)
        names = _categories(file, data["categories"], classes, broken)
        pictures += _pictures(file, data, names, split, broken)
    both = Counter(p.path for p in pictures if p.path)
    broken += (Broken(p.file, p.name, "listed more than once", "kept") for p in pictures if both.get(p.path, 0) > 1)
    return Source(list(classes), pictures, broken, _keypoints(classes, pictures, broken) if task == "pose" else {})


def _root(file: Path) -> str:
    return _SPLIT.sub(r"\2", file.stem)


def _split(file: Path) -> str | None:
    match = _SPLIT.search(file.stem) or _SPLIT.fullmatch(file.parent.name)
    return match and ("train" if match[1].lower() == "train" else "val")


def _folders(file: Path) -> list[Path]:
    """Return where the images of a JSON file may be."""
    match = _SPLIT.search(file.stem) or _SPLIT.fullmatch(file.parent.name)
    names = [match[0], match[1]] if match else []
    names += ["val", "valid"] if _split(file) == "val" else []
    beside = file.parent.name.lower() in {"annotations", "labels"} or _SPLIT.fullmatch(file.parent.name)
    roots = (file.parent, file.parent.parent) if beside else (file.parent,)  # else the folder above may be a home
    places = [f for r in roots for f in (r / "images", *(r / i / n for n in names for i in ("images", "")))]
    return [f for f in dict.fromkeys((*roots, *places)) if f.is_dir()]


def _load(file: Path) -> dict:
    """Return the contents of a file that looks like COCO's."""
    if not file.is_file():  # such as a pipe, which one would wait for
        raise ValueError(f"{file} is a broken link, or no file.")
    try:
        data = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{file} is not readable as JSON: {error}") from None
    keys = "images", "annotations", "categories"
    missing = [k for k in keys if not isinstance(data, dict) or not isinstance(data.get(k), list)]
    if missing:
        raise ValueError(f"{file} is no COCO JSON: it has no list of {', '.join(missing)}.")
    return data


def _key(value: Any) -> Any:
    """Return an id that can be looked up, or None: 1 and "1" and 1.0 are the same."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\d{1,18}", value) else value
    return value if isinstance(value, int | float) else None


def _said(value: Any) -> str:
    """Return a value for a message; a list may be too deep, or too long, to be one."""
    return plain(str(value)) if isinstance(value, str | int | float | None) else type(value).__name__


def _categories(file: Path, rows: list, classes: dict[str, dict], broken: list[Broken]) -> dict:
    """Return the names by id and add them to `classes`."""
    names: dict[Any, str] = {}
    rows = [row if isinstance(row, dict) else {} for row in rows]
    for row in sorted(rows, key=lambda r: (not isinstance(_key(r.get("id")), int), _said(r.get("id")).zfill(20))):
        key, name = _key(row.get("id")), _said(row.get("name") or "")
        item = f"category {_said(row.get('id'))} {name}".strip()
        if key is None or not name:
            broken.append(Broken(file.name, item, "category without a name" if key is not None else "no usable id"))
        elif key in names and names[key] != name:
            broken.append(Broken(file.name, item, f"its id is that of the category {names[key]}, too"))
        else:
            if name in names.values():
                broken.append(Broken(file.name, item, "several categories of that name, put together", "kept"))
            names[key] = name
            classes.setdefault(name, row)
    return names


def _pictures(file: Path, data: dict, names: dict, split: str | None, broken: list[Broken]) -> list[Picture]:
    """Return the images of a file with their boxes."""
    by_id: dict[Any, Picture] = {}
    by_name: dict[str, Any] = {}
    same: dict[Any, Any] = {}  # id of an image that is listed twice: its first id
    ambiguous = set()
    folders = _folders(file)
    for row in data["images"]:
        row = row if isinstance(row, dict) else {}
        key, name = _key(row.get("id")), row.get("file_name")
        item = f"image {_said(row.get('id'))}"
        if key is None or not isinstance(name, str) or not name.strip():
            broken.append(
                Broken(file.name, item, "image without an id" if key is None else "image without a file_name")
            )
            continue
        if key in by_id and by_id[key].name != name:
            broken.append(Broken(file.name, item, f"id of both {by_id[key].name} and {name}: both left out"))
            ambiguous.add(key)
            continue
        if name in by_name:
            broken.append(Broken(file.name, item, f"{name} is listed more than once: boxes put together", "kept"))
            same[key] = by_name[name]
            continue
        size = numbers((row.get("width"), row.get("height")), 2)
        size = size if size and min(size) > 0 else None
        path = _find(name, folders)
        if path and not _leads_to(name, path, folders):
            broken.append(Broken(file.name, name, f"leads elsewhere; {path.name} in the data set is taken", "kept"))
        by_id[key], by_name[name] = Picture(file.name, name, path, size, split, []), key
    for i, row in enumerate(data["annotations"]):
        row = row if isinstance(row, dict) else {}
        key, category, crowd = _key(row.get("image_id")), _key(row.get("category_id")), row.get("iscrowd")
        picture = by_id.get(same.get(key, key))
        item = f"annotation {_said(row.get('id', f'at place {i}'))}"
        xywh = numbers(row.get("bbox"), 4)
        problem = (
            f"of an unknown image {_said(row.get('image_id'))}"
            if picture is None
            else f"of image id {key}, which two images have"
            if key in ambiguous
            else f"of an unknown category {_said(row.get('category_id'))}"
            if category not in names
            else "crowd"
            if crowd and crowd != "0"
            else "bbox is not four finite numbers"
            if xywh is None
            else ""
        )
        if problem:
            broken.append(Broken(file.name, item, problem))
            continue
        x, y, w, h = xywh
        box = Box(item, names[category], (x, y, x + w, y + h), row.get("segmentation"), row.get("keypoints"))
        picture.boxes.append(box)
    return [picture for key, picture in by_id.items() if key not in ambiguous]


def _find(name: str, folders: list[Path]) -> Path | None:
    """Return the image of a file_name: as it is, or its last part alone, in one of the folders and never elsewhere."""
    path = PurePosixPath(name.replace("\\", "/"))
    places = [Path(os.path.abspath(d)) for d in folders]
    homes = [d for d in places if d != d.parent]  # all files are below /
    try:
        found = (Path(os.path.abspath(d / p)) for p in (path, path.name) for d in places)
        return next((f for f in found if any(map(f.is_relative_to, homes)) and f.is_file()), None)
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return None


def _leads_to(name: str, path: Path, folders: list[Path]) -> bool:
    """Return whether a file_name is the image that was found, if need be without folders in front of it."""
    written = PurePosixPath(name.replace("\\", "/"))
    inside = ".." not in written.parts and not re.match(r"/|[A-Za-z]:", str(written))
    return inside or any(Path(os.path.abspath(d / written)) == path for d in folders)


def _keypoints(classes: dict[str, dict], pictures: list[Picture], broken: list[Broken]) -> dict:
    """Return what the data YAML needs for task=pose, and list the boxes with another number of keypoints."""
    count = Counter(
        len(b.keypoints) for p in pictures for b in p.boxes if isinstance(b.keypoints, list) and b.keypoints
    )
    length = next((n for n, _ in count.most_common() if n % 3 == 0), 0)
    if not length:
        raise ValueError("No annotation has keypoints, rows of x, y, visibility: use task=detect, not task=pose.")
    for picture in pictures:
        for box in [b for b in picture.boxes if isinstance(b.keypoints, list) and len(b.keypoints) not in (0, length)]:
            broken.append(Broken(picture.file, box.item, f"{len(box.keypoints)} numbers of keypoints, not {length}"))
            picture.boxes.remove(box)
    more: dict[str, list[int]] = {"kpt_shape": [length // 3, 3]}
    names = next((c["keypoints"] for c in classes.values() if isinstance(c.get("keypoints"), list)), [])
    names = [_said(name) for name in names]
    if len(names) == length // 3 and any("left" in n for n in names):  # else ultralytics does without flips
        swap = {"left": "right", "right": "left"}
        mirrored = [re.sub("left|right", lambda m: swap[m[0]], n) for n in names]
        more["flip_idx"] = [names.index(m) if m in names else i for i, m in enumerate(mirrored)]
    return more
