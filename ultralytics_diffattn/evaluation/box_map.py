# Ultralytics DiffAttn - AGPL-3.0 License
"""mAP50-95 of a detector, by ultralytics' validation, which leaves nothing behind."""

from __future__ import annotations

import tempfile
from typing import Any

from ultralytics_diffattn.evaluation.nms_time_limit import lift


def box_map(yolo: Any, data: str, imgsz: int) -> float:
    """Return mAP50-95 of boxes on val.

    Args:
        yolo (ultralytics.YOLO): A detector; validation fuses it.
        data (str): A data YAML.
        imgsz (int): Size of the images in pixels.

    Returns:
        (float): From 0 to 1.

    Examples:
        >>> box_map(YOLO("yolo11n.pt"), "coco.yaml", imgsz=640)  # doctest: +SKIP
        0.39
    """
    yolo.add_callback("on_val_start", lift)
    with tempfile.TemporaryDirectory() as folder:  # ultralytics saves into it
        metrics = yolo.val(data=data, imgsz=imgsz, plots=False, verbose=False, project=folder)
    return float(metrics.box.map)
