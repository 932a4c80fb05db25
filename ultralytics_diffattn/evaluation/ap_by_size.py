# Ultralytics DiffAttn - AGPL-3.0 License
"""COCO's average precision, overall and by the size of the objects, of what ultralytics' own validator predicts."""

from __future__ import annotations

from copy import deepcopy

from faster_coco_eval import COCO, COCOeval_faster

from ultralytics_diffattn.evaluation.predictions import Predictions

STATS = {"AP": 0, "AP50": 1, "small": 3, "medium": 4, "large": 5}  # places in COCO's list of results


def ap_by_size(truth: dict, predictions: list[dict]) -> dict[str, float | None]:
    """Return COCO's average precision of boxes: over IoU 0.5 to 0.95, at IoU 0.5, and by size of the object.

    Sizes are COCO's, in pixels of the original image: small is below 32 x 32, large above 96 x 96. Of each image the
    100 predictions with the highest scores count.

    Args:
        truth (dict): The objects in COCO's format: `images`, `annotations`, `categories`.
        predictions (list[dict]): COCO results: `image_id`, `category_id`, `bbox` (x, y, w, h), `score`.

    Returns:
        (dict[str, float | None]): `AP`, `AP50`, `small`, `medium`, `large`; None where there is no such object.

    Raises:
        ValueError: If a prediction is of an image that `truth` does not have.

    Examples:
        >>> box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50]}
        >>> objects = [{**box, "id": 1, "area": 2500, "iscrowd": 0}]
        >>> truth = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": objects}
        >>> {size: ap and round(ap, 2) for size, ap in ap_by_size(truth, [{**box, "score": 0.9}]).items()}
        {'AP': 1.0, 'AP50': 1.0, 'small': None, 'medium': 1.0, 'large': None}
    """
    unknown = {p["image_id"] for p in predictions} - {image["id"] for image in truth["images"]}
    if unknown:
        raise ValueError(
            f"{len(unknown)} images have predictions but are not in the truth, such as that with the image_id "
            f"{min(unknown, key=str)!r}: use the ids of truth['images']"
        )
    if not truth["annotations"]:
        return dict.fromkeys(STATS)
    objects = COCO(deepcopy(truth))  # it writes into what it is given
    results = objects.loadRes([dict(p) for p in predictions])
    coco = COCOeval_faster(objects, results, "bbox", print_function=_quiet)
    coco.evaluate()
    coco.accumulate()
    coco.summarize()
    return {name: None if coco.stats[i] < 0 else float(coco.stats[i]) for name, i in STATS.items()}


def as_coco(kept: Predictions) -> tuple[dict, list[dict]]:
    """Return kept predictions in COCO's format, for `ap_by_size`.

    The area of an object is that of its box, as in ultralytics' own evaluation of custom data; COCO's annotations of
    its own images have the area of the outline instead, which makes some objects smaller.

    Args:
        kept (Predictions): Of one model.

    Returns:
        (tuple[dict, list[dict]]): The truth, and the results; ids of images and classes are their indices plus one.
    """
    objects = zip(kept.target_image.tolist(), kept.target_cls.tolist(), kept.target_box.tolist(), strict=True)
    truth = {
        "images": [
            {"id": i, "file_name": file, "height": height, "width": width}
            for i, (file, (height, width)) in enumerate(zip(kept.files, kept.shape.tolist(), strict=True), 1)
        ],
        "annotations": [
            {"id": n, "image_id": i + 1, "category_id": c + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, (i, c, box) in enumerate(objects, 1)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(kept.names, 1)],
    }
    found = zip(kept.image.tolist(), kept.cls.tolist(), kept.box.tolist(), kept.conf.tolist(), strict=True)
    return truth, [{"image_id": i + 1, "category_id": c + 1, "bbox": box, "score": score} for i, c, box, score in found]


def _quiet(*_: object) -> None:
    """Print nothing."""
