# Ultralytics DiffAttn - AGPL-3.0 License
"""Non-maximum suppression without its time limit: mAP must not depend on how busy the machine is."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch


def lift(validator: Any) -> None:
    """Have a validator suppress boxes in all images of a batch; a callback for the start of a validation.

    ultralytics breaks off after 2 s and 0.05 s for each image, with a warning, and the other images of the batch are
    left without a box. A model that says much and sees little, as in its first epochs or on noise, needs longer on a
    busy machine, and then loses mAP that it has.

    Args:
        validator (ultralytics.engine.validator.BaseValidator): About to validate; its class stays as it is.

    Examples:
        >>> from ultralytics import YOLO
        >>> model = YOLO("yolo11n.yaml")
        >>> model.add_callback("on_val_start", lift)
    """
    postprocess = validator.postprocess
    if isinstance(postprocess, partial):  # of an earlier epoch
        return
    validator.postprocess = partial(_without_limit, postprocess)


def _without_limit(postprocess: Any, preds: Any) -> Any:
    """Return what a validator makes of a model's output, in as much time as it takes."""
    module = _module()
    unhurried = partial(module.non_max_suppression, max_time_img=float("inf"))
    with patch.object(module, "non_max_suppression", unhurried):
        return postprocess(preds)


def _module() -> Any:
    """Return the module in which the installed ultralytics has its function."""
    try:
        from ultralytics.utils import nms

        return nms
    except ImportError:  # ultralytics < 8.3.200
        from ultralytics.utils import ops

        return ops
