# Ultralytics DiffAttn - AGPL-3.0 License
"""Checks a data set in Ultralytics layout before hours go into it, and tells it from any other by a hash."""

from __future__ import annotations

import glob
import hashlib
import os
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import yaml
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset, img2label_paths
from ultralytics.utils import NUM_THREADS


def check(data_yaml: str | Path, expected_classes: int | None = None) -> dict[str, Any]:
    """Let ultralytics read a data YAML, and download the data if need be; refuse what it would drop or train in vain.

    Args:
        data_yaml (str | Path): As from `resolve`.
        expected_classes (int, optional): Number of classes, as in the catalogue.

    Returns:
        (dict): What ultralytics' `check_det_dataset` returns.

    Raises:
        FileNotFoundError: If there are no images, or no labels beside them.
        ValueError: If the YAML is not sound, or the numbers of classes do not match.

    Examples:
        >>> check("shapes.yaml", 6)["nc"]
        6
    """
    try:
        data = check_det_dataset(str(data_yaml))
    except (SyntaxError, AssertionError, AttributeError, TypeError, KeyError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{data_yaml} is not a data YAML that ultralytics can use: {error}") from error
    if expected_classes is not None and data["nc"] != expected_classes:
        raise ValueError(
            f"{data_yaml} has {data['nc']} classes where {expected_classes} are expected: mend its `names`."
        )
    for split in ("train", "val"):
        images = list_images(data, split)
        if not images:
            raise FileNotFoundError(
                f"{data_yaml} has no images in `{split}: {data[split]}`: put images ({', '.join(sorted(IMG_FORMATS))}) "
                "there, or mend the path."
            )
        missing = [f for f in images if not os.path.isfile(f)]
        if missing:  # named in a text file
            raise FileNotFoundError(
                f"{len(missing)} of the {len(images)} images in `{split}: {data[split]}` of {data_yaml} do not exist, "
                f"the first is {missing[0]}: finish the download, or take them off the list."
            )
        labels = img2label_paths(images)
        with ThreadPool(NUM_THREADS) as pool:
            rows = sum(pool.imap_unordered(lambda file: _count(file, data), labels, 256))
        if not rows:
            raise FileNotFoundError(
                f"{data_yaml} has {len(images)} images in `{split}: {data[split]}` and not one box: labels are looked "
                f"for in files such as {labels[0]}."
            )
    return data


def fingerprint(data: dict[str, Any]) -> str:
    """Return a hash of a data set: names and sizes of its train and val images, and all of its labels.

    Args:
        data (dict): As from `check`.

    Returns:
        (str): SHA-256; it does not depend on where the data set lies, and never reads a pixel.

    Examples:
        >>> len(fingerprint(check("shapes.yaml")))
        64
    """
    root = f"{data['path']}{os.sep}"
    digest = hashlib.sha256()
    for split in ("train", "val"):
        images = list_images(data, split)
        names = [(f[len(root) :] if f.startswith(root) else os.path.basename(f)).replace(os.sep, "/") for f in images]
        files = sorted(zip(names, images, img2label_paths(images), strict=True))
        with ThreadPool(NUM_THREADS) as pool:
            contents = pool.imap(_content, files, 256)
            for (name, _, _), (size, label) in zip(files, contents, strict=True):
                digest.update(f"{split}\0{name}\0{size}\0{len(label)}\0".encode(errors="surrogateescape") + label)
    return digest.hexdigest()


def list_images(data: dict[str, Any], split: str) -> list[str]:
    """Return the images of a split as ultralytics lists them: those of folders, and those that text files name.

    Args:
        data (dict): As from `check`.
        split (str): "train" or "val".

    Returns:
        (list[str]): Paths, sorted.
    """
    places = data.get(split) or []
    found: list[str] = []
    for place in [places] if isinstance(places, str) else places:
        if os.path.isdir(place):
            found += glob.glob(os.path.join(glob.escape(place), "**", "*.*"), recursive=True)
        elif os.path.isfile(place):
            parent = os.path.dirname(place) + os.sep
            lines = Path(place).read_text(encoding="utf-8-sig").strip().splitlines()
            found += (parent + x[2:] if x.startswith("./") else x for x in lines)
    return sorted(f.replace("/", os.sep) for f in found if f.rpartition(".")[2].lower() in IMG_FORMATS)


def _count(file: str, data: dict[str, Any]) -> int:
    """Return the number of rows of a label file; a missing one has none."""
    try:
        with open(file, "rb") as stream:
            rows = stream.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    except FileNotFoundError:
        return 0
    rows = [(i, row.split(None, 1)[0]) for i, row in enumerate(rows, 1) if row.strip()]
    for i, first in rows:
        try:
            sound = 0 <= float(first) < data["nc"]
        except ValueError:
            sound = False
        if not sound:
            raise ValueError(
                f"{file}, line {i}: class {first.decode(errors='replace')}, where the data set has {data['nc']}, 0 to "
                f"{data['nc'] - 1}. Ultralytics would leave out the image: mend the label, or `names` in the data YAML."
            )
    return len(rows)


def _content(files: tuple[str, str, str]) -> tuple[int, bytes]:
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
