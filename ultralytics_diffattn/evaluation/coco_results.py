# Ultralytics DiffAttn - AGPL-3.0 License
"""Reads predictions of any framework, written as COCO writes results, for the images and classes of a data set.

Such a file does not say what its ids mean, so every way to write them is tried that the data set knows of: ultralytics'
own, COCO's, and that of the annotations that the data set was converted from. If none knows all ids, or two know them
and disagree, the file is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ultralytics_diffattn.errors import MissingFileError, UserError

KEYS = "image_id", "category_id", "bbox", "score"
LISTS = "annotations", "images", "categories"
EXPLICIT = (
    "give a file that says what its ids mean: an object with the lists annotations (these predictions), images (id, "
    "file_name) and categories (id, name)."
)
OUTSIDE, AMBIGUOUS = -1, -2  # in place of an image's index: it is in another split; it is one of several
Id: TypeAlias = int | str


class Detections(NamedTuple):
    """The predictions of a file for the images of a split.

    Attributes:
        image (np.ndarray): (D,) index of the image.
        cls (np.ndarray): (D,) class.
        box (np.ndarray): (D, 4) x, y (of the upper left corner), width and height in pixels of the original image.
        conf (np.ndarray): (D,) score.
    """

    image: NDArray[np.int64]
    cls: NDArray[np.int64]
    box: NDArray[np.float64]
    conf: NDArray[np.float64]


class Writing(NamedTuple):
    """One way to write ids: who writes so, the index of an image by its id, and that of a class."""

    who: str
    images: dict[Id, int]
    classes: dict[Id, int]


def read(
    file: Path, images: Sequence[str], others: Iterable[str], names: Sequence[str], source: Path | None = None
) -> Detections:
    """Return the predictions of a COCO results JSON for the images of a split.

    Args:
        file (Path): A list of `image_id`, `category_id`, `bbox` and `score`; or an object that has this list as
            `annotations`, and says with `images` and `categories` what the ids are.
        images (Sequence[str]): Files of the split.
        others (Iterable[str]): Files of the data set's other splits, whose predictions are left out.
        names (Sequence[str]): The classes.
        source (Path, optional): The COCO annotations that the data set was converted from.

    Returns:
        (Detections): In the order of the file.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If it is no such file, an id is unknown or means two things, or no prediction is for these images.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "predictions.json"
        >>> row = {"image_id": 7, "category_id": 2, "bbox": [8, 6, 32, 24], "score": 0.9}
        >>> _ = file.write_text(json.dumps([row]))
        >>> read(file, ["val/0007.jpg"], [], ["cat", "dog"]).cls
        array([1])
    """
    content = _load(file)
    rows = content if isinstance(content, list) else content["annotations"]
    for n, row in enumerate(rows, 1):
        if wrong := _wrong(row):
            raise UserError(f"{file}: prediction {n} {wrong}.")
    writing = _writing_of(file, rows, _writings(content, images, [*others], names, source))
    image = np.array([writing.images[row["image_id"]] for row in rows], np.int64)
    if (image == AMBIGUOUS).any():
        ambiguous = rows[int((image == AMBIGUOUS).argmax())]["image_id"]
        raise UserError(f"{file}: image_id {ambiguous!r} belongs to several images of the data set: {EXPLICIT}")
    inside = image != OUTSIDE
    if not inside.any():
        raise UserError(
            f"{file} has no prediction for any of the {len(images)} images of the comparison: predict those."
        )
    return Detections(
        image[inside],
        np.array([writing.classes[row["category_id"]] for row in rows], np.int64)[inside],
        np.array([row["bbox"] for row in rows], float).reshape(-1, 4)[inside],
        np.array([row["score"] for row in rows], float)[inside],
    )


def _load(file: Path) -> Any:
    """Return the content of a file, a list of anything or an object with the three lists."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise MissingFileError(f"{file} does not exist.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not readable as JSON: {error}") from None
    lists = isinstance(content, dict) and all(isinstance(content.get(key), list) for key in LISTS)
    if not isinstance(content, list) and not lists:
        raise UserError(
            f"{file} is not a COCO results JSON: give a list of objects with {', '.join(KEYS)}, or {EXPLICIT}"
        )
    return content


def _wrong(row: Any) -> str:
    """Return what is wrong with a prediction; empty if nothing is."""
    from ultralytics_diffattn.data.annotations import numbers

    if not isinstance(row, dict):
        return f"is not an object with {', '.join(KEYS)}"
    for key in KEYS:
        if key not in row:
            return f"has no {key}; each needs {', '.join(KEYS)}"
    for key, kinds in (("image_id", (int, str)), ("category_id", (int,)), ("score", (int, float))):
        if type(row[key]) not in kinds:
            return f"has the {key} {str(row[key])[:40]!r}, which is not a number{' or text' if str in kinds else ''}"
    box = numbers(row["bbox"], 4)
    if box is None or min(box[2:]) < 0:
        return f"has the bbox {str(row['bbox'])[:60]}, which is not x, y, width and height in pixels"
    return "" if 0 <= row["score"] <= 1 else f"has the score {row['score']}; scores are from 0 to 1"


def _writings(
    content: Any, images: Sequence[str], others: Sequence[str], names: Sequence[str], source: Path | None
) -> list[Writing]:
    """Return the ways in which the ids of a file may be written."""
    if isinstance(content, dict):
        return [_by_tables("as in the file's own lists", content, images, others, names)]
    stems: dict[Id, int] = {}
    for i, file in [*enumerate(images), *((OUTSIDE, other) for other in others)]:
        stem = Path(file).stem
        for key in {stem, int(stem) if stem.isdecimal() else stem}:
            _add(stems, key, i)
    writings = [Writing("as ultralytics writes them", stems, {i + 1: i for i in range(len(names))})]
    if coco := _coco_classes(names):
        writings.append(Writing("as COCO numbers them", stems, coco))
    if source is not None:
        writings += _of_annotations(source, images, others, names)
    return writings


def _coco_classes(names: Sequence[str]) -> dict[Id, int]:
    """Return the index of each class by COCO's category_id, 1 to 90; empty if the classes are not COCO's 80."""
    import yaml
    from ultralytics.data.converter import coco80_to_coco91_class
    from ultralytics.utils import ROOT

    coco = yaml.safe_load((ROOT / "cfg" / "datasets" / "coco.yaml").read_text(encoding="utf-8"))["names"]
    same = [*names] == [coco[i] for i in sorted(coco)]
    return {n: i for i, n in enumerate(coco80_to_coco91_class())} if same else {}


def _of_annotations(source: Path, images: Sequence[str], others: Sequence[str], names: Sequence[str]) -> list[Writing]:
    """Return the way of the COCO annotations that a data set was converted from, if they are still there."""
    from ultralytics_diffattn.data import coco_json

    tables: dict[str, list[Any]] = {"images": [], "categories": []}
    for file in coco_json.family(source) if source.exists() else []:
        content = _load(file)
        for key in tables:
            tables[key] += content[key]
    return [_by_tables(f"as in {source}", tables, images, others, names)] if tables["images"] else []


def _by_tables(
    who: str, tables: Mapping[str, list[Any]], images: Sequence[str], others: Sequence[str], names: Sequence[str]
) -> Writing:
    """Return the way that lists of images and categories describe."""
    from ultralytics_diffattn.data.annotations import plain

    index: dict[Id, int] = {}
    for i, file in [*enumerate(images), *((OUTSIDE, other) for other in others)]:
        # A conversion links an image under a name of its own, which has the folders in it.
        for name in {os.path.basename(file), os.path.basename(os.path.realpath(file))}:
            _add(index, name, i)
    by_id: dict[Id, int] = {}
    for row in (r for r in tables["images"] if isinstance(r, dict) and isinstance(r.get("file_name"), str)):
        parts = [part for part in Path(row["file_name"].replace("\\", "/")).parts if part not in ("..", "/")]
        known = [index[name] for name in ("_".join(parts), parts[-1] if parts else "") if name in index]
        if known and isinstance(row.get("id"), int | str):
            _add(by_id, row["id"], known[0])
    classes: dict[Id, int] = {}
    for row in (r for r in tables["categories"] if isinstance(r, dict) and isinstance(r.get("id"), int)):
        if plain(str(row.get("name"))) in names:
            classes[row["id"]] = names.index(plain(str(row.get("name"))))
    return Writing(who, by_id, classes)


def _add(index: dict[Id, int], key: Id, image: int) -> None:
    """Let a key stand for an image, too: one of the split takes it from others, two of the split make it ambiguous."""
    before = index.get(key, OUTSIDE)
    if image != OUTSIDE or key not in index:
        index[key] = image if before in (OUTSIDE, image) else AMBIGUOUS


def _writing_of(file: Path, rows: Sequence[Mapping[str, Any]], writings: Sequence[Writing]) -> Writing:
    """Return the one way to write ids that a file can follow, or raise."""
    images, classes = ({row[key] for row in rows} for key in ("image_id", "category_id"))
    fits = [w for w in writings if images <= w.images.keys() and classes <= w.classes.keys()]
    if not fits:
        nearest = min(writings, key=lambda w: (len(images - w.images.keys()), len(classes - w.classes.keys())))
        for key, ids, known in (("image_id", images, nearest.images), ("category_id", classes, nearest.classes)):
            if unknown := sorted(ids - known.keys(), key=str):
                kind = "image" if key == "image_id" else "class"
                such = ", ".join(map(repr, [*known][:3])) or "none"
                raise UserError(
                    f"{file}: {key} {unknown[0]!r} is no {kind} of the data set ({len(unknown)} of {len(ids)} ids are "
                    f"not). The data set's ids, {nearest.who}, include {such}. Give predictions for this data "
                    f"set, or {EXPLICIT}"
                )
    for other in fits[1:]:
        for key, ids in (("image_id", images), ("category_id", classes)):
            mine, theirs = ((w.images if key == "image_id" else w.classes) for w in (fits[0], other))
            if different := sorted((i for i in ids if mine[i] != theirs[i]), key=str):
                raise UserError(
                    f"{file}: {key} {different[0]!r} means one thing with ids {fits[0].who}, and another with ids "
                    f"{other.who}, and the file fits both: {EXPLICIT}"
                )
    return fits[0]
