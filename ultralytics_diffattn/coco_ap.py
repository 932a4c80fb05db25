# Ultralytics DiffAttn - AGPL-3.0 License
"""COCO's average precision, overall and by the size of the objects, of what ultralytics' own validator predicts."""

from __future__ import annotations

import torch
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from ultralytics import YOLO
from ultralytics.data.utils import exif_size
from ultralytics.utils.ops import clip_boxes

from ultralytics_diffattn.predictions import Predictions

TASKS = "detect", "segment", "pose"  # those whose results have upright boxes
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
    objects = COCO(truth, use_deepcopy=True)  # it writes into what it is given
    coco = COCOeval_faster(objects, objects.loadRes(predictions), "bbox", print_function=_quiet)
    coco.evaluate()
    coco.accumulate()
    coco.summarize()
    return {name: None if coco.stats[i] < 0 else float(coco.stats[i]) for name, i in STATS.items()}


def coco_truth(dataset: torch.utils.data.Dataset) -> dict:
    """Return the labels of an ultralytics data set in COCO's format.

    The area of an object is that of its box, as in ultralytics' own evaluation of custom data; COCO's annotations of
    its own images have the area of the outline instead, which makes some objects smaller.

    Args:
        dataset (torch.utils.data.Dataset): An ultralytics `YOLODataset`: `labels` and `data["names"]` are read.

    Returns:
        (dict): `images` with ids from 1 in the order of `dataset.im_files`, `annotations` in pixels of the original
            images, `categories` with ids from 1 in the order of the classes.

    Examples:
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> box, shape = np.array([[0.5, 0.5, 0.2, 0.1]]), (100, 200)
        >>> labels = [{"im_file": "a.jpg", "shape": shape, "cls": np.array([[0.0]]), "bboxes": box}]
        >>> coco_truth(SimpleNamespace(labels=labels, data={"names": {0: "cell"}}))["annotations"][0]["bbox"]
        [80.0, 45.0, 40.0, 10.0]
    """
    images, annotations = [], []
    for image_id, label in enumerate(dataset.labels, 1):
        height, width = label.get("shape") or _shape(label["im_file"])
        images.append({"id": image_id, "file_name": label["im_file"], "height": height, "width": width})
        for c, (x, y, w, h) in zip(label["cls"].reshape(-1).tolist(), label["bboxes"].tolist(), strict=True):
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(c) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in dataset.data["names"].items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _shape(file: str) -> tuple[int, int]:
    """Return height and width of an image, which ultralytics takes out of the labels with rect=True."""
    with Image.open(file) as image:
        width, height = exif_size(image)
    return height, width


def collect(model: YOLO) -> dict:
    """Have a model keep the objects and the predictions of its next validation, for `ap_by_size`.

    Ultralytics' own way, `save_json=True`, names an image by the stem of its file, so that `a/1.jpg` and `b/1.jpg`
    are one, and changes how masks are scored. This reads what the validator scores, image by image.

    Args:
        model (YOLO): Model whose `val` will be called.

    Returns:
        (dict): Empty until `model.val(...)` has run; then `truth` and `predictions`, if the task has upright boxes.

    Examples:
        >>> model = YOLO("yolo11n.pt")  # doctest: +SKIP
        >>> kept = collect(model)  # doctest: +SKIP
        >>> metrics = model.val(data="coco8.yaml")  # doctest: +SKIP
        >>> ap_by_size(**kept)["small"]  # doctest: +SKIP
    """
    kept: dict = {}

    def on_val_start(validator: object) -> None:
        if validator.args.task not in TASKS:
            return
        dataset, stock = validator.dataloader.dataset, validator.update_metrics
        image_ids = {file: i for i, file in enumerate(dataset.im_files, 1)}
        kept.update(truth=coco_truth(dataset), predictions=[])

        def update_metrics(preds: list | tuple, batch: dict) -> None:
            stock(preds, batch)  # first, since it sets the classes with single_cls
            for i, file in enumerate(batch["im_file"]):
                rows = _in_image(_rows(preds, i), batch["ratio_pad"][i], batch["ori_shape"][i])
                kept["predictions"] += [_result(image_ids[file], *row) for row in rows.tolist()]

        validator.update_metrics = update_metrics

    model.add_callback("on_val_start", on_val_start)
    return kept


def _rows(preds: list | tuple, i: int) -> torch.Tensor:
    """Return a copy of the predictions of image `i` of a batch, (N, 6): corners, score, class."""
    image = (preds[0] if isinstance(preds, tuple) else preds)[i]  # segment's are (boxes, prototypes) in ultralytics 8.3
    if isinstance(image, dict):
        return torch.cat([image["bboxes"], image["conf"][:, None], image["cls"][:, None]], 1)
    return image[:, :6].clone()


def _in_image(rows: torch.Tensor, ratio_pad: tuple, shape: tuple[int, int]) -> torch.Tensor:
    """Move corners from the letterboxed to the original image, by each axis' own ratio.

    Ultralytics 8.4.120 and older divide both axes by that of the height, which moves boxes by up to a pixel.
    """
    (ratio_y, ratio_x), (left, top) = ratio_pad
    rows[:, :4] -= rows.new_tensor([left, top, left, top])
    rows[:, :4] /= rows.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y])
    clip_boxes(rows, shape)
    return rows


def _result(image_id: int, x1: float, y1: float, x2: float, y2: float, score: float, c: float) -> dict:
    """Return one COCO result, rounded as ultralytics rounds those that it saves."""
    box = [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)]
    return {"image_id": image_id, "category_id": int(c) + 1, "bbox": box, "score": round(score, 5)}


def _quiet(*_: object) -> None:
    """Print nothing."""


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
