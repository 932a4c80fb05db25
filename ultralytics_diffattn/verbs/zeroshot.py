# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn zeroshot`: classify images by words, and measure how often that is right, also on corrupted images."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from ultralytics_diffattn.clip import classes, images, weights
from ultralytics_diffattn.clip.zeroshot import accuracy, as_csv, by_class, ranked
from ultralytics_diffattn.evaluation.corruptions import corrupt
from ultralytics_diffattn.output.files import write_json, write_text
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import check_known, parse_corruptions, parse_severities

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
    from ultralytics.utils import LOGGER
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
    folder = run_folder("classify", "predict", given.get("name") or "zeroshot", given.get("project"))
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
            change = partial(corrupt, name=name, severity=severity) if severity else None
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
    from ultralytics_diffattn.evaluation.corruptions import CORRUPTIONS

    if not corruptions:
        return [("clean", 0)]
    names = parse_corruptions(tuple(CORRUPTIONS) if corruptions == "all" else corruptions)
    return [("clean", 0), *((name, s) for name in names for s in parse_severities(severities))]
