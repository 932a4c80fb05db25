# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn robustness`: what common corruptions of the images leave of a model's mAP."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics_diffattn.evaluation import bootstrap
from ultralytics_diffattn.evaluation.corruptions import CORRUPTIONS
from ultralytics_diffattn.evaluation.robustness import as_markdown, detectors, predict, summarise, write_corrupted
from ultralytics_diffattn.output.files import write_json, write_text
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import listed, parse_corruptions, parse_severities

OWN = {"models": "", "corruptions": ",".join(CORRUPTIONS), "severities": (1, 2, 3, 4, 5)}


def robustness(**given: Any) -> dict[str, Any]:
    """Validate checkpoints on corrupted images, and say how they differ.

    Args:
        **given (Any): `models` (checkpoints with commas between), `data` (whatever `catalogue.resolve` takes),
            `corruptions` (names, by default all), `severities` (1 to 5), `project` and `name` (the folder), and any
            argument of ultralytics' validation.

    Returns:
        (dict): What `robustness.json` holds.

    Raises:
        ValueError: If an argument is out of range, or a model has other classes than the data set.

    Examples:
        >>> robustness(models="a/best.pt,b/best.pt", data="shapes", severities=3)  # doctest: +SKIP

    References:
        Hendrycks and Dietterich, arXiv 1903.12261; for detection Michaelis et al., arXiv 1907.07484.
    """
    if "model" in given:
        raise ValueError(f"model={given['model']}: give models=, one or more checkpoints with commas between.")
    names = parse_corruptions(given.pop("corruptions", OWN["corruptions"]))
    severities = parse_severities(given.pop("severities", OWN["severities"]))
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.data.check import check

    if "data" not in given:
        raise ValueError("data= is missing; give a name of the catalogue, as data=shapes, or a data YAML of your own.")
    dataset = catalogue.resolve(given.pop("data"))
    data = check(dataset.data, dataset.classes)
    models = detectors([Path(file) for file in listed(given.pop("models", "")) if file], data)
    folder = run_folder("detect", "val", given.pop("name", None) or "robustness", given.pop("project", None))
    folder.mkdir(parents=True, exist_ok=True)

    conditions = [("clean", 0), *((name, severity) for name in names for severity in severities)]
    scores, resampled = {}, {}
    with tempfile.TemporaryDirectory(dir=folder) as room:
        for n, (name, severity) in enumerate(conditions, 1):
            LOGGER.info(f"\nrobustness: {n} of {len(conditions)}, {name} {severity or ''}")
            yaml = write_corrupted(Path(room), data, name, severity)
            kept = [predict(model, yaml, Path(room), given) for model in models.values()]
            prepared = [bootstrap.prepare(p) for p in kept]
            scores[name, severity] = np.array([bootstrap.mean_ap(p) for p in prepared])  # (models, 2)
            resampled[name, severity] = bootstrap.resample(prepared)  # (resamples, models, 2), the same images
    found = summarise(list(models), scores, resampled)
    write_json(folder / "robustness.json", found)
    write_text(folder / "robustness.md", as_markdown(found))
    LOGGER.info(f"\n{as_markdown(found)}\nrobustness: {folder}")
    return found
