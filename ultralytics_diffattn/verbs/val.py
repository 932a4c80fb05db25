# Ultralytics DiffAttn - AGPL-3.0 License
"""Ultralytics' validation, and COCO's average precision by the size of the objects after it."""

from __future__ import annotations

from typing import Any

from ultralytics_diffattn.evaluation import predictions
from ultralytics_diffattn.evaluation.ap_by_size import STATS, ap_by_size, as_coco

OWN: dict[str, Any] = {}


def val(model: str = "", **args: Any) -> dict[str, Any]:
    """Validate a model with ultralytics' own validator, then report average precision by size.

    Args:
        model (str): Weights, or an exported model.
        **args (Any): `data`, whatever `catalogue.resolve` takes, by default the checkpoint's own; anything else that
            `yolo val` takes. The catalogue's image size and batch for the data set are the defaults.

    Returns:
        (dict): `results`, ultralytics' own `results_dict`; `sizes`, see `ap_by_size`, or None if the task has no
            upright boxes.

    Raises:
        ValueError: If `model` is missing.
        FileNotFoundError: If the model or the data set does not exist.

    Examples:
        >>> val(model="best.pt", data="shapes")["sizes"]["small"]  # doctest: +SKIP
    """
    if not model:
        raise ValueError("model= is missing: give weights to validate, as in model=runs/detect/train/weights/best.pt")
    from ultralytics import YOLO
    from ultralytics.utils import LOGGER

    from ultralytics_diffattn.data import catalogue
    from ultralytics_diffattn.data.check import check

    yolo = YOLO(model, task=args.pop("task", None))
    if "data" in args:
        dataset = catalogue.resolve(args["data"], yolo.task)
        budget = {key: value for key, value in dataset.budget.items() if key in ("imgsz", "batch")}
        args = {**budget, **args, "data": dataset.data}
        if yolo.task == "detect":
            _check_classes(model, yolo.names, check(dataset.data, dataset.classes)["names"])
    kept = []
    if yolo.task in predictions.TASKS:
        predictions.listen(yolo)
        yolo.add_callback("on_val_end", lambda validator: kept.append(predictions.gather(validator)))
    results = {name: float(value) for name, value in yolo.val(**args).results_dict.items()}
    if not kept:
        LOGGER.info(f"Average precision by size is for upright boxes, which the results of task={yolo.task} have not.")
        return {"results": results, "sizes": None}
    sizes = ap_by_size(*as_coco(kept[0]))
    LOGGER.info(("%22s" + "%11s" * 6) % ("COCO AP of boxes", "Objects", *STATS))
    shown = ("-" if ap is None else f"{ap:.3g}" for ap in sizes.values())
    LOGGER.info(("%22s" + "%11s" * 6) % ("all", len(kept[0].target_cls), *shown))
    return {"results": results, "sizes": sizes}


def _check_classes(model: str, known: dict, there: dict) -> None:
    """Refuse labels that the model cannot predict, of which ultralytics would make an mAP of zero."""
    if len(known) != len(there):
        raise ValueError(
            f"{model} knows {len(known)} classes, the data set has {len(there)}; give the one that it was trained for."
        )
