# Ultralytics DiffAttn - AGPL-3.0 License
"""Ultralytics' validation, and COCO's average precision by the size of the objects after it."""

from __future__ import annotations

from ultralytics import YOLO
from ultralytics.utils import LOGGER

from ultralytics_diffattn.coco_ap import STATS, ap_by_size, collect


def val(model: str = "", **args: object) -> dict:
    """Validate a model with ultralytics' own validator, then report average precision by size.

    Args:
        model (str): Weights, or an exported model.
        **args (object): Anything that `yolo val` takes: data, imgsz, batch, split, device, ...

    Returns:
        (dict): `results`, ultralytics' own `results_dict`; `sizes`, see `ap_by_size`, or None if the task has no
            upright boxes.

    Raises:
        ValueError: If `model` is missing.
        FileNotFoundError: If the model or the data set does not exist.

    Examples:
        >>> val(model="best.pt", data="shapes.yaml")["sizes"]["small"]  # doctest: +SKIP
    """
    if not model:
        raise ValueError("model= is missing: give weights to validate, as in model=runs/detect/train/weights/best.pt")
    yolo = YOLO(model, task=args.pop("task", None))
    kept = collect(yolo)
    results = {name: float(value) for name, value in yolo.val(**args).results_dict.items()}
    if not kept:
        LOGGER.info(f"Average precision by size is for upright boxes, which the results of task={yolo.task} have not.")
        return {"results": results, "sizes": None}
    sizes = ap_by_size(**kept)
    LOGGER.info(("%22s" + "%11s" * 6) % ("COCO AP of boxes", "Objects", *STATS))
    shown = ("-" if ap is None else f"{ap:.3g}" for ap in sizes.values())
    LOGGER.info(("%22s" + "%11s" * 6) % ("all", len(kept["truth"]["annotations"]), *shown))
    return {"results": results, "sizes": sizes}
