# Ultralytics DiffAttn - AGPL-3.0 License
"""Images without their labels: those of a folder, of a list, or of the train split of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset

from ultralytics_diffattn.data.catalogue import resolve
from ultralytics_diffattn.data.check import check, list_images
from ultralytics_diffattn.errors import MissingFileError, UserError


class Unlabelled(NamedTuple):
    """Images, and the data set that they are from.

    Attributes:
        files (list[str]): The images, sorted.
        data (str | None): The data YAML; None for a folder or a list.
    """

    files: list[str]
    data: str | None


def find_images(source: str | Path, task: str = "detect") -> Unlabelled:
    """Return the images of a source.

    Args:
        source (str | Path): A folder of images, a text file that lists them, or whatever `catalogue.resolve` takes.
        task (str): Of the model.

    Returns:
        (Unlabelled): Of a data set, the images of its train split.

    Raises:
        MissingFileError: If there is no such source.
        UserError: If it holds no images.

    Examples:
        >>> find_images("shapes").data
        'shapes.yaml'
    """
    path = Path(source)
    data = None
    if path.suffix.lower() == ".txt" and path.is_file():
        files = list_images({"train": str(path)}, "train")
    elif path.is_dir() and (task == "classify" or not _is_data_set(path, task)):
        folder = path / "train" if task == "classify" and (path / "train").is_dir() else path
        files = list_images({"train": str(folder)}, "train")
    else:
        data = resolve(source, task).data
        described = check_cls_dataset(data) if task == "classify" else check(data)
        files = list_images({"train": str(described["train"])} if task == "classify" else described, "train")
    if not files:
        raise UserError(
            f"{source} holds no images ({', '.join(sorted(IMG_FORMATS))}), the only files that are read here."
        )
    return Unlabelled(files, data)


def _is_data_set(folder: Path, task: str) -> bool:
    """Return whether a folder is more than images."""
    try:
        resolve(folder, task)
    except MissingFileError:
        return False
    return True
