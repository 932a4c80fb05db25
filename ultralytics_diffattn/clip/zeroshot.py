# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn zeroshot`: classify images by words, and measure how often that is right, also on corrupted images."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics_diffattn.clip import classes, images, weights
from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.nn.arguments import check_known
from ultralytics_diffattn.output.files import write_json, write_text

OWN = {
    "weights": "DiffCLIP_ViTB16_CC12M",
    "source": "",
    "data": "",
    "names": "",
    "templates": "simple",
    "corruptions": "",
    "severities": (1, 2, 3, 4, 5),
    **images.OWN,
}


def zeroshot(**given: Any) -> dict[str, Any]:
    """Print the five nearest classes of each image, or the accuracy on a folder of classes.

    Args:
        **given (Any): `weights` (a checkpoint or a name on the hub), `source` (images) with `names` (as for
            `classes.parse_names`), or `data` (a folder with one folder for each class, or with `val` or `test` above
            them; `names` then are their order's, by default the folders' own), `templates` (as for
            `classes.parse_templates`), `corruptions` and `severities` (as for `robustness`; `all` are all), `batch`,
            `workers`, `device`, `project` and `name`.

    Returns:
        (dict): What `zeroshot.json` holds.

    Raises:
        ValueError: If an argument is missing or out of range.
        FileNotFoundError: If there are no images or weights.

    Examples:
        >>> zeroshot(weights="checkpoint_best.pt", source="photos", names="cat,dog")  # doctest: +SKIP

    References:
        CLIP, section 3.1; DiffCLIP, table 2; for the corruptions ImageNet-C, https://arxiv.org/abs/1903.12261.
    """
    from ultralytics.cfg import get_save_dir
    from ultralytics.utils import LOGGER, IterableSimpleNamespace
    from ultralytics.utils.torch_utils import select_device

    check_known("zeroshot", given, OWN)
    batch, workers = images.parse_load(given)
    source, data = given.get("source"), given.get("data")
    if bool(source) == bool(data):
        raise ValueError("give either source= (images to name) or data= (a folder with a folder for each class).")
    names = given.get("names") or ""
    if source and not names:
        raise ValueError("names= is missing; give words with commas between, a .txt, a data YAML, or imagenet.")
    templates = classes.parse_templates(given.get("templates") or OWN["templates"])
    conditions = parse_conditions(given.get("corruptions") or "", given.get("severities") or OWN["severities"])
    if source and len(conditions) > 1:
        raise ValueError("corruptions= measures accuracy; give data=, a folder with a folder for each class.")
    if data:
        files, truth, folders = by_class(data)
        names = classes.parse_names(names or [folder.replace("_", " ") for folder in folders])
        if len(names) != len(folders):
            raise ValueError(f"{data} has {len(folders)} classes, but names= has {len(names)}.")
    else:
        files, names = images.find(source), classes.parse_names(names)
    where = {"project": given.get("project"), "name": given.get("name") or "zeroshot"}
    folder = get_save_dir(
        IterableSimpleNamespace(task="classify", mode="predict", exist_ok=False, save_dir=None, **where)
    )
    device = select_device(given.get("device"), verbose=False)
    model = weights.load(given.get("weights") or OWN["weights"]).to(device)
    words = classes.embed(model, names, templates)
    load = {"batch": batch, "workers": workers}
    folder.mkdir(parents=True, exist_ok=True)
    if source:
        places, kept = images.embed(model, files, **load)
        found = {"images": ranked(model, places, words, [files[i] for i in kept], names)}
        write_text(folder / "zeroshot.csv", as_csv(found["images"]))
        for row in found["images"]:
            best = ", ".join(f"{name} {share:.3f}" for name, share in row["classes"])
            LOGGER.info(f"{row['image']}: {best}")
    else:
        found = {"classes": len(names), "templates": len(templates), "rows": []}
        for name, severity in conditions:
            change = partial(corrupted, name=name, severity=severity) if severity else None
            places, kept = images.embed(model, files, **load, change=change, desc=f"{name} {severity or ''}".strip())
            scores = accuracy(places @ words.T, torch.tensor([truth[i] for i in kept]))
            found["rows"].append({"condition": name, "severity": severity, "images": len(kept), **scores})
            LOGGER.info(f"{name} {severity or ''}: top-1 {scores['top1']:.4f}, top-5 {scores['top5']:.4f}")
        if len(conditions) > 1:
            rest = found["rows"][1:]
            found["corrupted"] = {k: sum(r[k] for r in rest) / len(rest) for k in ("top1", "top5")}
    found = {"weights": str(given.get("weights") or OWN["weights"]), **found}
    write_json(folder / "zeroshot.json", found)
    LOGGER.info(f"zeroshot: {folder}")
    return found


def parse_conditions(corruptions: str | list | tuple, severities: Any) -> list[tuple[str, int]]:
    """Return the pairs of a corruption and a severity to measure, with `("clean", 0)` before them."""
    from ultralytics_diffattn import robustness
    from ultralytics_diffattn.corruptions import CORRUPTIONS

    if not corruptions:
        return [("clean", 0)]
    names = robustness.parse_names(tuple(CORRUPTIONS) if corruptions == "all" else corruptions)
    return [("clean", 0), *((name, s) for name in names for s in robustness.parse_severities(severities))]


def corrupted(image: Any, name: str, severity: int) -> Any:
    """Return an image, (H, W, 3), uint8, BGR, corrupted."""
    from ultralytics_diffattn.corruptions import corrupt

    return corrupt(image, name, severity)


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
