# Ultralytics DiffAttn - AGPL-3.0 License
"""Zero-shot classification: the nearest classes of an image by their names, and how often the first is right."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from ultralytics_diffattn.clip import images
from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.errors import MissingFileError


class LabelledImages(NamedTuple):
    """Images in folders of classes.

    Attributes:
        files (list[Path]): The images.
        labels (list[int]): The class of each image, an index of `folders`.
        folders (list[str]): Names of the folders, sorted.
    """

    files: list[Path]
    labels: list[int]
    folders: list[str]


class NamedImage(TypedDict):
    """An image with its nearest classes, at most five, each with its probability, the nearest first."""

    image: str
    classes: list[tuple[str, float]]


class NamingResults(TypedDict):
    """What `zeroshot.json` holds after `source=`."""

    weights: str
    images: list[NamedImage]


class Accuracy(TypedDict):
    """The share of images whose class is the nearest, and among the nearest five, 0 to 1."""

    top1: float
    top5: float


class ConditionAccuracy(Accuracy):
    """Accuracy under one condition, on the images that could be read."""

    condition: str
    severity: int
    images: int


class AccuracyResults(TypedDict):
    """What `zeroshot.json` holds after `data=`: the number of classes and of templates, a row for each condition."""

    weights: str
    classes: int
    templates: int
    rows: list[ConditionAccuracy]


class CorruptionResults(AccuracyResults):
    """The same after `corruptions=`, with the mean over all conditions but the first, which is clean."""

    corrupted: Accuracy


class Condition(NamedTuple):
    """A condition under which accuracy is measured.

    Attributes:
        name (str): Such as "clean" or that of a corruption.
        severity (int): From 1 on; 0 for no corruption.
        alter (Callable | None): From an image, (H, W, 3), uint8, BGR, to another.
    """

    name: str
    severity: int = 0
    alter: Callable[[images.Pixels], images.Pixels] | None = None


CLEAN = Condition("clean")


def read_folders(data: str | Path) -> LabelledImages:
    """Return the images of a folder that has a folder for each class.

    Args:
        data (str | Path): The folder, or one in which `val`, `test` or `train` (in this order) is such a folder.

    Returns:
        (LabelledImages): Sorted by class and name; a class may have no image.

    Raises:
        MissingFileError: If there are no images in such folders.
    """
    root = Path(data)
    root = next((root / split for split in ("val", "test", "train") if (root / split).is_dir()), root)
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        try:
            of_class = images.find(folder)
        except MissingFileError:
            continue  # a class without an image is one that may be mistaken for others
        files += of_class
        labels += [label] * len(of_class)
    if not files:
        raise MissingFileError(f"{data} holds no folders with images: data= takes a folder with one for each class.")
    return LabelledImages(files, labels, [folder.name for folder in folders])


def name_images(
    model: CLIP,
    files: Sequence[Path],
    text_embeddings: Tensor,
    names: Sequence[str],
    batch: int = 64,
    workers: int = 0,
) -> list[NamedImage]:
    """Return the nearest classes of each image that can be read.

    Args:
        model (CLIP): On the device on which it is to run.
        files (Sequence[Path]): The images.
        text_embeddings (Tensor): (classes, embed_dim), of `classes.embed`.
        names (Sequence[str]): Of the classes.
        batch (int): Images at a time.
        workers (int): Processes that read images beside this one.

    Returns:
        (list[NamedImage]): At most five classes for each, with the softmax over all classes.

    Raises:
        UserError: If no image can be read.

    References:
        CLIP, section 3.1.2.
    """
    image_embeddings, readable = images.embed(model, files, batch, workers)
    logits = model.logit_scale.exp().item() * image_embeddings @ text_embeddings.T  # (images, classes)
    nearest = logits.softmax(-1).topk(min(5, len(names)))
    return [
        {"image": str(files[i]), "classes": [(names[c], p) for c, p in zip(classes, probabilities, strict=True)]}
        for i, classes, probabilities in zip(readable, nearest.indices.tolist(), nearest.values.tolist(), strict=True)
    ]


def measure(
    model: CLIP,
    data: LabelledImages,
    text_embeddings: Tensor,
    condition: Condition = CLEAN,
    batch: int = 64,
    workers: int = 0,
) -> ConditionAccuracy:
    """Return the accuracy of a model on the images that can be read, under one condition.

    Args:
        model (CLIP): On the device on which it is to run.
        data (LabelledImages): Of `read_folders`.
        text_embeddings (Tensor): (classes, embed_dim), of `classes.embed`, in the order of the folders.
        condition (Condition): Whether and how images are altered before.
        batch (int): Images at a time.
        workers (int): Processes that read images beside this one.

    Returns:
        (ConditionAccuracy): Top-1 and top-5.

    Raises:
        UserError: If no image can be read.
    """
    title = f"{condition.name} {condition.severity or ''}".strip()
    image_embeddings, readable = images.embed(model, data.files, batch, workers, condition.alter, title)
    labels = torch.tensor([data.labels[i] for i in readable])
    scores = accuracy(image_embeddings @ text_embeddings.T, labels)
    return {"condition": condition.name, "severity": condition.severity, "images": len(readable), **scores}


def accuracy(logits: Tensor, labels: Tensor) -> Accuracy:
    """Return how often the right class is the first, and among the first five.

    Args:
        logits (Tensor): (images, classes), floating.
        labels (Tensor): (images,), int64, from 0 to classes - 1.

    Returns:
        (Accuracy): `top1` and `top5`, 0 to 1.

    Examples:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.2, 0.8]]), torch.tensor([1, 0]))
        {'top1': 0.5, 'top5': 1.0}
    """
    hits = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]  # (images, 5)
    return {"top1": hits[:, 0].float().mean().item(), "top5": hits.any(1).float().mean().item()}


def mean_accuracy(rows: Sequence[Accuracy]) -> Accuracy:
    """Return the mean over conditions.

    Args:
        rows (Sequence[Accuracy]): One or more.

    Returns:
        (Accuracy): `top1` and `top5`, 0 to 1.

    Examples:
        >>> mean_accuracy([{"top1": 0.25, "top5": 1.0}, {"top1": 0.75, "top5": 1.0}])
        {'top1': 0.5, 'top5': 1.0}
    """
    return {"top1": sum(r["top1"] for r in rows) / len(rows), "top5": sum(r["top5"] for r in rows) / len(rows)}


def as_csv(rows: Iterable[NamedImage]) -> str:
    """Return a table with a row for each image and class: image, rank, class, share (the softmax).

    Args:
        rows (Iterable[NamedImage]): Of `name_images`.

    Returns:
        (str): CSV with a header.

    Examples:
        >>> print(as_csv([{"image": "a.jpg", "classes": [("cat", 0.75), ("dog", 0.25)]}]))
        image,rank,class,share
        a.jpg,1,cat,0.75
        a.jpg,2,dog,0.25
        <BLANKLINE>
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "share"))
    for row in rows:
        writer.writerows((row["image"], rank, *pair) for rank, pair in enumerate(row["classes"], 1))
    return text.getvalue()
