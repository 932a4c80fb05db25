# Ultralytics DiffAttn - AGPL-3.0 License
"""Ultralytics' validation, and COCO's average precision by the size of the objects after it."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, TypedDict

from ultralytics_diffattn.errors import UserError, as_user_errors
from ultralytics_diffattn.evaluation import predictions, recording
from ultralytics_diffattn.evaluation.ap_by_size import STATS, APBySize, ap_by_size, as_coco
from ultralytics_diffattn.verbs.arguments import open_model

OWN: dict[str, Any] = {}


class Validation(TypedDict):
    """Metrics of a validation.

    Attributes:
        results (dict[str, float]): Ultralytics' own `results_dict`.
        sizes (APBySize | None): Average precision by size; None if the task has no upright boxes.
    """

    results: dict[str, float]
    sizes: APBySize | None


def val(model: str = "", **args: Any) -> Validation:
    """Return the metrics of ultralytics' own validation, and average precision by size.

    Args:
        model (str): Weights, or an exported model.
        **args (Any): `data`, whatever `catalogue.resolve` takes, by default the checkpoint's own; anything else that
            `yolo val` takes. The catalogue's image size and batch for the data set are the defaults.

    Returns:
        (Validation): The metrics.

    Raises:
        UserError: If `model` is missing, or knows another number of classes than the data set has.
        MissingFileError: If the model or the data set does not exist.

    Examples:
        >>> val(model="best.pt", data="shapes")["sizes"]["small"]  # doctest: +SKIP
    """
    if not model:
        raise UserError("model= is missing: give weights to validate, as in model=runs/detect/train/weights/best.pt")
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.data.check import check

    yolo = open_model(model, args.pop("task", None))
    if "data" in args:
        dataset = catalogue.resolve(args["data"], yolo.task)
        budget = {key: value for key, value in dataset.budget.items() if key in ("imgsz", "batch")}
        args = {**budget, **args, "data": dataset.data}
        if yolo.task == "detect":
            _check_classes(model, yolo.names, check(dataset.data, dataset.classes)["names"])
    collected = recording.collect(yolo) if yolo.task in predictions.UPRIGHT else []
    with as_user_errors():
        metrics = yolo.val(**args)
    results = {name: float(value) for name, value in metrics.results_dict.items()}
    if not collected:
        LOGGER.info(f"Average precision by size is for upright boxes, which the results of task={yolo.task} have not.")
        return {"results": results, "sizes": None}
    sizes = ap_by_size(*as_coco(collected[0]))
    LOGGER.info(("%22s" + "%11s" * 6) % ("COCO AP of boxes", "Objects", *STATS))
    cells = ("-" if sizes[name] is None else f"{sizes[name]:.3g}" for name in STATS)
    LOGGER.info(("%22s" + "%11s" * 6) % ("all", len(collected[0].target_cls), *cells))
    return {"results": results, "sizes": sizes}


def _check_classes(model: str, of_model: Sized, of_data: Sized) -> None:
    """Refuse labels that the model cannot predict, of which ultralytics would make an mAP of zero."""
    if len(of_model) != len(of_data):
        raise UserError(
            f"{model} has {len(of_model)} classes, the data set has {len(of_data)}; give the one that it was trained "
            "for."
        )
