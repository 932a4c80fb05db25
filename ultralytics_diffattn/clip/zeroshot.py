# Ultralytics DiffAttn - AGPL-3.0 License
"""Classification by words: the images of each class, the nearest classes of an image, and how often that is right."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from torch import Tensor

from ultralytics_diffattn.clip import images
from ultralytics_diffattn.clip.model import CLIP


def by_class(data: str | Path) -> tuple[list[Path], list[int], list[str]]:
    """Return images, the number of each one's class, and the names of the folders, in order.

    Args:
        data (str | Path): A folder with a folder for each class, or with `val`, `test` or `train` above them.

    Returns:
        (tuple[list[Path], list[int], list[str]]): The three.

    Raises:
        FileNotFoundError: If there are no images in such folders.
    """
    root = Path(data)
    root = next((root / split for split in ("val", "test", "train") if (root / split).is_dir()), root)
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    files, truth = [], []
    for i, folder in enumerate(folders):
        try:
            found = images.find(folder)
        except FileNotFoundError:
            continue  # a class without an image is one that may be mistaken for others
        files += found
        truth += [i] * len(found)
    if not files:
        raise FileNotFoundError(f"{data} holds no folders with images: data= takes a folder with one for each class.")
    return files, truth, [folder.name for folder in folders]


def ranked(model: CLIP, places: Tensor, words: Tensor, files: list[Path], names: list[str]) -> list[dict[str, Any]]:
    """Return for each image its nearest five classes with their shares of the softmax."""
    shares = (model.logit_scale.exp().item() * places @ words.T).softmax(-1)  # (images, classes)
    top = shares.topk(min(5, len(names)))
    return [
        {"image": str(file), "classes": [[names[i], share] for share, i in zip(*row, strict=True)]}
        for file, *row in zip(files, top.values.tolist(), top.indices.tolist(), strict=True)
    ]


def accuracy(logits: Tensor, truth: Tensor) -> dict[str, float]:
    """Return how often the right class is the first, and among the first five.

    Args:
        logits (Tensor): (images, classes).
        truth (Tensor): (images,), numbers of classes.

    Returns:
        (dict[str, float]): `top1` and `top5`, 0 to 1.
    """
    hits = logits.topk(min(5, logits.shape[1])).indices == truth[:, None]  # (images, 5)
    return {"top1": hits[:, 0].float().mean().item(), "top5": hits.any(1).float().mean().item()}


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Return a table with a row for each image and class: image, rank, class, share."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "share"))
    for row in rows:
        writer.writerows((row["image"], i, *pair) for i, pair in enumerate(row["classes"], 1))
    return text.getvalue()
