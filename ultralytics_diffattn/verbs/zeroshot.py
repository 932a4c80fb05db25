# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn zeroshot`: classify images by words, and measure how often that is right, also on corrupted images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import select_device

from ultralytics_diffattn.clip import classes, images
from ultralytics_diffattn.clip import zeroshot as classification
from ultralytics_diffattn.clip.model import CLIP
from ultralytics_diffattn.clip.zeroshot import AccuracyResults, Condition, CorruptionResults, NamingResults
from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.evaluation.corruptions import CORRUPTIONS, corrupt
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
    "batch": 64,
    "workers": 0,
    "device": "",
    "project": "",
    "name": "",
}


def zeroshot(**arguments: Any) -> NamingResults | AccuracyResults | CorruptionResults:
    """Print the five nearest classes of each image, or the accuracy on a folder of classes.

    Args:
        **arguments (Any): `weights` (a checkpoint or a name on the hub), `source` (images) with `names` (as for
            `classes.parse_names`), or `data` (a folder with one folder for each class, or with `val` or `test` above
            them; `names` then are their order's, by default the folders' own), `templates` (as for
            `classes.parse_templates`), `corruptions` and `severities` (as for `robustness`; `all` are all), `batch`,
            `workers`, `device`, `project` and `name`.

    Returns:
        (NamingResults | AccuracyResults | CorruptionResults): What `zeroshot.json` holds, after `source`, `data`, or
            `corruptions`.

    Raises:
        UserError: If an argument is missing or out of range.
        MissingFileError: If there are no images or weights.

    Examples:
        >>> zeroshot(weights="checkpoint_best.pt", source="photos", names="cat,dog")  # doctest: +SKIP

    References:
        CLIP, section 3.1; DiffCLIP, table 2; for the corruptions ImageNet-C, https://arxiv.org/abs/1903.12261.
    """
    check_known("zeroshot", arguments, OWN)
    args: dict[str, Any] = OWN | {name: value for name, value in arguments.items() if value not in (None, "")}
    images.check_loading(args["batch"], args["workers"])
    if bool(args["source"]) == bool(args["data"]):
        raise UserError("give either source= (images to name) or data= (a folder with a folder for each class).")
    return _name(args) if args["source"] else _measure(args)


def _name(args: dict[str, Any]) -> NamingResults:
    """Name the images of `source=`, and write and print their nearest classes."""
    if not args["names"]:
        raise UserError("names= is missing; give words with commas between, a .txt, a data YAML, or imagenet.")
    templates = classes.parse_templates(args["templates"])
    if len(_conditions(args)) > 1:
        raise UserError("corruptions= measures accuracy; give data=, a folder with a folder for each class.")
    files, names = images.find(args["source"]), classes.parse_names(args["names"])
    folder, model = _folder(args), _model(args)
    text_embeddings = classes.embed(model, names, templates)
    with as_user_errors():
        folder.mkdir(parents=True, exist_ok=True)
    rows = classification.name_images(model, files, text_embeddings, names, args["batch"], args["workers"])
    results: NamingResults = {"weights": str(args["weights"]), "images": rows}
    write_text(folder / "zeroshot.csv", classification.as_csv(rows))
    write_json(folder / "zeroshot.json", results)
    for row in rows:
        nearest = ", ".join(f"{name} {share:.3f}" for name, share in row["classes"])
        LOGGER.info(f"{row['image']}: {nearest}")
    LOGGER.info(f"zeroshot: {folder}")
    return results


def _measure(args: dict[str, Any]) -> AccuracyResults | CorruptionResults:
    """Measure accuracy on the classes of `data=` under each condition, and write and print it."""
    templates = classes.parse_templates(args["templates"])
    conditions = _conditions(args)
    data = classification.read_folders(args["data"])
    names = classes.parse_names(args["names"] or [name.replace("_", " ") for name in data.folders])
    if len(names) != len(data.folders):
        raise UserError(f"{args['data']} has {len(data.folders)} classes, but names= has {len(names)}.")
    folder, model = _folder(args), _model(args)
    text_embeddings = classes.embed(model, names, templates)
    with as_user_errors():
        folder.mkdir(parents=True, exist_ok=True)
    results: AccuracyResults | CorruptionResults
    results = {"weights": str(args["weights"]), "classes": len(names), "templates": len(templates), "rows": []}
    for condition in conditions:
        row = classification.measure(model, data, text_embeddings, condition, args["batch"], args["workers"])
        results["rows"].append(row)
        title = f"{row['condition']} {row['severity'] or ''}"
        LOGGER.info(f"{title}: top-1 {row['top1']:.4f}, top-5 {row['top5']:.4f}")
    if len(conditions) > 1:
        results = {**results, "corrupted": classification.mean_accuracy(results["rows"][1:])}
    write_json(folder / "zeroshot.json", results)
    LOGGER.info(f"zeroshot: {folder}")
    return results


def _folder(args: dict[str, Any]) -> Path:
    """Return the folder into which results go."""
    return run_folder("classify", "predict", args["name"] or "zeroshot", args["project"])


def _model(args: dict[str, Any]) -> CLIP:
    """Return the model on its device."""
    with as_user_errors(ValueError):
        device = select_device(args["device"], verbose=False)
    return CLIP.from_pretrained(args["weights"]).to(device)


def _conditions(args: dict[str, Any]) -> list[Condition]:
    """Return the conditions to measure: clean images first, then each corruption at each severity."""
    if not args["corruptions"]:
        return [classification.CLEAN]
    names = parse_corruptions(tuple(CORRUPTIONS) if args["corruptions"] == "all" else args["corruptions"])
    severities = parse_severities(args["severities"])
    corrupted = [Condition(name, s, partial(corrupt, name=name, severity=s)) for name in names for s in severities]
    return [classification.CLEAN, *corrupted]
