# Ultralytics DiffAttn - AGPL-3.0 License
"""A few images to compare two models on: of a source, or of the data that a model was trained on."""

from __future__ import annotations

from pathlib import Path

from ultralytics import YOLO
from ultralytics.data.loaders import LoadImagesAndVideos
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset
from ultralytics.utils import ASSETS

from ultralytics_diffattn.errors import UserError, as_user_errors

MOST_IMAGES = 16


def images_in(source: str | Path) -> list[str]:
    """Return at most 16 images, spread evenly over a source.

    Args:
        source (str | Path): A folder, a file, or a list of files.

    Returns:
        (list[str]): Their paths.

    Raises:
        UserError: If the source holds no images.
        MissingFileError: If it does not exist.
    """
    if Path(source).is_dir():
        files = sorted(str(file) for file in Path(source).rglob("*"))
    else:
        with as_user_errors():
            files = [str(file) for file in LoadImagesAndVideos(str(source)).files]
    files = [file for file in files if Path(file).suffix[1:].lower() in IMG_FORMATS]
    if not files:
        raise UserError(f"{source} holds no images; allowed are files of type {', '.join(sorted(IMG_FORMATS))}")
    return spread(files)


def spread(files: list[str]) -> list[str]:
    """Return at most 16 of some images, spread evenly over them."""
    return files[:: -(-len(files) // MOST_IMAGES)]


def validation_images(yolo: YOLO, data: str | None = None) -> list[str]:
    """Return at most 16 validation images: of `data`, or of the data that a model was trained on, or ultralytics' own.

    Args:
        yolo (YOLO): A trained model.
        data (str, optional): A data YAML, with task `classify` a folder.

    Returns:
        (list[str]): Their paths.
    """
    if data:
        val = (check_cls_dataset if yolo.task == "classify" else check_det_dataset)(data)["val"]
    else:
        try:  # never download for this
            data = str(yolo.overrides["data"])
            val = Path(data) / "val" if yolo.task == "classify" else check_det_dataset(data, autodownload=False)["val"]
            return images_in(val if isinstance(val, (str, Path)) else val[0])
        except Exception:  # whatever is wrong with data that the user did not ask for
            val = ASSETS
    return images_in(val if isinstance(val, (str, Path)) else val[0])
