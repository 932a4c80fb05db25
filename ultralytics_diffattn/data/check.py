# Ultralytics DiffAttn - AGPL-3.0 License
"""Checks a data set in Ultralytics layout before hours go into it, and tells it from any other by a hash."""

from __future__ import annotations

import glob
import hashlib
import inspect
import os
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import yaml
from ultralytics.data import ClassificationDataset
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset, img2label_paths
from ultralytics.utils import NUM_THREADS

from ultralytics_diffattn.errors import MissingFileError, UserError, as_user_errors


def check(data_yaml: str | Path, expected_classes: int | None = None, task: str = "detect") -> dict[str, Any]:
    """Return a data set as ultralytics reads it, after refusing what it would drop or train in vain.

    Ultralytics downloads the data if need be.

    Args:
        data_yaml (str | Path): As from `resolve`: a data YAML, or for classification a folder.
        expected_classes (int, optional): Number of classes, as in the catalogue.
        task (str): What the data are for, which decides how labels look.

    Returns:
        (dict[str, Any]): What ultralytics' own check returns: `train`, `val`, `nc`, `names`, and all of the YAML.

    Raises:
        MissingFileError: If there are no images, or no labels beside them.
        UserError: If the YAML is not sound, or the numbers of classes do not match.

    Examples:
        >>> check("shapes.yaml", 6)["nc"]
        6
    """
    try:
        with as_user_errors():
            data: dict[str, Any] = (check_cls_dataset if task == "classify" else check_det_dataset)(str(data_yaml))
    except UserError:
        raise
    except (
        SyntaxError, ValueError, AssertionError, AttributeError, TypeError, KeyError, RecursionError, yaml.YAMLError
    ) as error:  # fmt: skip
        raise UserError(f"{data_yaml} is not a data YAML that ultralytics can use: {error}") from error
    if expected_classes is not None and data["nc"] != expected_classes:
        raise UserError(
            f"{data_yaml} has {data['nc']} classes where {expected_classes} are expected: mend its `names`."
        )
    for split in ("train", "val"):
        _check_split(data_yaml, data, split, task)
    if task == "classify":
        _check_folders(data)
    return data


def _check_folders(data: Mapping[str, Any]) -> None:
    """Raise if `val` has other folders than `train`, and this ultralytics numbers the classes of each by itself."""
    if "names" in inspect.signature(ClassificationDataset.__init__).parameters:
        return
    folders = [{entry.name for entry in Path(data[s]).iterdir() if entry.is_dir()} for s in ("train", "val")]
    if different := folders[0] ^ folders[1]:
        raise UserError(
            f"{data['val']} and {data['train']} have different folders of classes, such as {min(different)!r}, which "
            "this release of ultralytics would mix up: update it, or make the folders the same."
        )


def has_test(data: Mapping[str, Any], task: str = "detect") -> bool:
    """Return whether a data set has images with labels that are neither for training nor for choosing.

    Args:
        data (Mapping[str, Any]): As from `check`.
        task (str): What the data are for.

    Returns:
        (bool): False for a `test:` without labels, as that of COCO, and for one that shares images with `train:` or
            `val:`.

    Examples:
        >>> has_test(check("shapes.yaml"))
        False
    """
    images = [f for f in list_images(data, "test") if os.path.isfile(f)]
    if not images or {*images} & {*list_images(data, "train"), *list_images(data, "val")}:
        return False
    return count_labelled(images, data, task) > 0


def _check_split(data_yaml: str | Path, data: Mapping[str, Any], split: str, task: str) -> None:
    """Raise unless a split has images, all of them exist, and their labels hold sound classes and one box at least."""
    images = list_images(data, split)
    if not images:
        raise MissingFileError(
            f"{data_yaml} has no images in `{split}: {data[split]}`: put images ({', '.join(sorted(IMG_FORMATS))}) "
            "there, or mend the path."
        )
    missing = [f for f in images if not os.path.isfile(f)]
    if missing:  # named in a text file
        raise MissingFileError(
            f"{len(missing)} of the {len(images)} images in `{split}: {data[split]}` of {data_yaml} do not exist, "
            f"the first is {missing[0]}: finish the download, or take them off the list."
        )
    if not count_labelled(images, data, task):
        file = _label_files(images[:1], data, task)[0]
        raise MissingFileError(
            f"{data_yaml} has {len(images)} images in `{split}: {data[split]}` and not one "
            f"{'box' if file.endswith('.txt') else 'map of labels'}: labels are looked for in files such as {file}."
        )


def count_labelled(images: Sequence[str], data: Mapping[str, Any], task: str) -> int:
    """Return the number of objects that images have, or of those that have a map of labels or lie in a class's folder.

    Args:
        images (Sequence[str]): Their files.
        data (Mapping[str, Any]): As from `check`.
        task (str): What the data are for.

    Returns:
        (int): Their number.

    Raises:
        UserError: If a label has a class that the data set has not.
    """
    if not images or task == "classify":
        return len(images)
    labels = _label_files(images, data, task)
    in_rows = labels[0].endswith(".txt")
    with ThreadPool(NUM_THREADS) as pool:
        count = (lambda file: _count_rows(file, data["nc"])) if in_rows else os.path.isfile
        return sum(pool.imap_unordered(count, labels, 256))


def fingerprint(data: Mapping[str, Any], task: str = "detect", splits: Sequence[str] = ("train", "val")) -> str:
    """Return a hash of a data set: names and sizes of its images, and all of its labels.

    Args:
        data (Mapping[str, Any]): As from `check`.
        task (str): What the data are for.
        splits (Sequence[str]): Those that are used.

    Returns:
        (str): SHA-256; it does not depend on where the data set lies, and never reads a pixel.

    Examples:
        >>> len(fingerprint(check("shapes.yaml")))
        64
    """
    root = f"{data['path'] if 'path' in data else Path(data['train']).parent}{os.sep}"
    digest = hashlib.sha256()
    for split in splits:
        images = list_images(data, split)
        names = [(f[len(root) :] if f.startswith(root) else os.path.basename(f)).replace(os.sep, "/") for f in images]
        files = sorted(zip(names, images, _label_files(images, data, task), strict=True))
        with ThreadPool(NUM_THREADS) as pool:
            contents = pool.imap(_size_and_label, files, 256)
            for (name, _, _), (size, label) in zip(files, contents, strict=True):
                digest.update(f"{split}\0{name}\0{size}\0{len(label)}\0".encode(errors="surrogateescape") + label)
    return digest.hexdigest()


def list_images(data: Mapping[str, Any], split: str) -> list[str]:
    """Return the images of a split as ultralytics lists them: those of folders, and those that text files name.

    Args:
        data (Mapping[str, Any]): As from `check`.
        split (str): "train" or "val".

    Returns:
        (list[str]): Paths, sorted.
    """
    sources: str | Path | list[str] = data.get(split) or []
    files: list[str] = []
    for source in sources if isinstance(sources, list) else [str(sources)]:
        if os.path.isdir(source):
            files += glob.glob(os.path.join(glob.escape(source), "**", "*.*"), recursive=True)
        elif os.path.isfile(source):
            parent = os.path.dirname(source) + os.sep
            lines = Path(source).read_text(encoding="utf-8-sig").strip().splitlines()
            files += (parent + line[2:] if line.startswith("./") else line for line in lines)
    return sorted({f.replace("/", os.sep) for f in files if f.rpartition(".")[2].lower() in IMG_FORMATS})


def _label_files(images: Sequence[str], data: Mapping[str, Any], task: str) -> list[str]:
    """Return the label file of each image, as ultralytics derives it."""
    if task == "semantic" and data.get("masks_dir"):
        return img2label_paths([*images], label_dir=data["masks_dir"], suffix=".png")
    if task == "depth":
        maps = [Path(file).with_suffix("") for file in img2label_paths([*images], label_dir="depth", suffix=".png")]
        return [str(m.with_suffix(".png" if m.with_suffix(".png").is_file() else ".npy")) for m in maps]
    return img2label_paths([*images])


def _count_rows(file: str, classes: int) -> int:
    """Return the number of rows of a label file, 0 if it is missing, or raise if a class is none."""
    try:
        with open(file, "rb") as stream:
            lines = stream.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    except FileNotFoundError:
        return 0
    first_words = [(i, line.split(None, 1)[0]) for i, line in enumerate(lines, 1) if line.strip()]
    for i, word in first_words:
        try:
            sound = 0 <= float(word) < classes
        except ValueError:
            sound = False
        if not sound:
            raise UserError(
                f"{file}, line {i}: class {word.decode(errors='replace')}, where the data set has {classes}, 0 to "
                f"{classes - 1}. Ultralytics would leave out the image: mend the label, or `names` in the data YAML."
            )
    return len(first_words)


def _size_and_label(files: tuple[str, str, str]) -> tuple[int, bytes]:
    """Return the size of an image, -1 if it is missing, and its label file, empty if it is missing."""
    _, image, label = files
    try:
        size = os.stat(image).st_size
    except OSError:
        size = -1
    try:
        with open(label, "rb") as stream:
            return size, stream.read()
    except FileNotFoundError:  # to ultralytics the same as an empty one
        return size, b""
