# Ultralytics DiffAttn - AGPL-3.0 License
"""`diffattn robustness`: what common corruptions of the images leave of a model's mAP."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.evaluation import bootstrap
from ultralytics_diffattn.evaluation.corruptions import CORRUPTIONS
from ultralytics_diffattn.evaluation.robustness import (
    CLEAN,
    Condition,
    Robustness,
    as_markdown,
    check_detectors,
    predict,
    summarise,
    write_corrupted,
)
from ultralytics_diffattn.output.files import write_json, write_text
from ultralytics_diffattn.output.run_folder import run_folder
from ultralytics_diffattn.verbs.arguments import listed, parse_corruptions, parse_severities

OWN = {"models": "", "corruptions": ",".join(CORRUPTIONS), "severities": (1, 2, 3, 4, 5)}


def robustness(**arguments: Any) -> Robustness:
    """Return the mAP50-95 of checkpoints on corrupted images, and how they differ.

    Args:
        **arguments (Any): `models` (checkpoints with commas between), `data` (whatever `catalogue.resolve` takes),
            `corruptions` (names, by default all), `severities` (1 to 5), `project` and `name` (the folder), and any
            argument of ultralytics' validation.

    Returns:
        (Robustness): What `robustness.json` holds.

    Raises:
        UserError: If an argument is out of range, or a model has other classes than the data set.
        MissingFileError: If a checkpoint or the data set does not exist.

    Examples:
        >>> robustness(models="a/best.pt,b/best.pt", data="shapes", severities=3)  # doctest: +SKIP

    References:
        Hendrycks and Dietterich, arXiv 1903.12261; for detection Michaelis et al., arXiv 1907.07484.
    """
    if "model" in arguments:
        raise UserError(f"model={arguments['model']}: give models=, one or more checkpoints with commas between.")
    names = parse_corruptions(arguments.pop("corruptions", OWN["corruptions"]))
    severities = parse_severities(arguments.pop("severities", OWN["severities"]))
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.data.check import check

    if "data" not in arguments:
        raise UserError("data= is missing; give a name of the catalogue, as data=shapes, or a data YAML of your own.")
    dataset = catalogue.resolve(arguments.pop("data"))
    data = check(dataset.data, dataset.classes)
    models = check_detectors([Path(file) for file in listed(arguments.pop("models", "")) if file], data)
    name, project = arguments.pop("name", None) or "robustness", arguments.pop("project", None)
    folder = run_folder("detect", "val", name, project)
    with as_user_errors():
        folder.mkdir(parents=True, exist_ok=True)

    conditions = [CLEAN, *(Condition(name, severity) for name in names for severity in severities)]
    scores, resampled = {}, {}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        images = Path(temporary)
        for n, condition in enumerate(conditions, 1):
            LOGGER.info(f"\nrobustness: {n} of {len(conditions)}, {condition.corruption} {condition.severity or ''}")
            yaml = write_corrupted(images, data, condition)
            prepared = [bootstrap.prepare(predict(model, yaml, images, arguments)) for model in models.values()]
            scores[condition] = np.array([bootstrap.mean_ap(p) for p in prepared])  # (models, 2)
            measures = [partial(bootstrap.mean_ap, p) for p in prepared]
            resampled[condition] = bootstrap.resample(measures, prepared[0].images)  # (resamples, models, 2)
    results = summarise(list(models), scores, resampled, prepared[0].images)
    write_json(folder / "robustness.json", results)
    write_text(folder / "robustness.md", as_markdown(results))
    LOGGER.info(f"\n{as_markdown(results)}\nrobustness: {folder}")
    return results
