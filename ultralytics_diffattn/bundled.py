# Ultralytics DiffAttn - AGPL-3.0 License
"""Paths of the bundled files: the YAMLs of models and data sets, and the catalogue."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SCALE = r"^(yolo(?:e-)?\d+)[nslmx]"  # yolo11n-diffattn.yaml is yolo11-diffattn.yaml, yoloe-11n-... is yoloe-11-...


def path(name: str) -> Path:
    """Return the path of a bundled file or folder: inside the package in a wheel, beside it in a checkout.

    Args:
        name (str): `cfg` or `datasets.yaml`.

    Returns:
        (Path): Its path.

    Examples:
        >>> path("cfg").is_dir()
        True
    """
    return next((d / name for d in (PACKAGE, PACKAGE.parent) if (d / name).exists()), PACKAGE / name)


def find(name: str | Path) -> str | None:
    """Return the bundled YAML of a bare name, or None.

    Args:
        name (str | Path): File name without a folder; a model's may carry a scale, as in `yolo11n-diffattn.yaml`.

    Returns:
        (str | None): Path of the YAML.

    Examples:
        >>> Path(find("yolo11n-diffattn.yaml")).name
        'yolo11-diffattn.yaml'
    """
    name = str(name).strip()
    if Path(name).name != name:
        return None
    files = (path("cfg") / folder / re.sub(SCALE, r"\1", name) for folder in ("", "controls", "datasets"))
    return next((str(f) for f in files if f.is_file()), None)
