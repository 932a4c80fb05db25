# Ultralytics DiffAttn - AGPL-3.0 License
"""Finds the model and data YAMLs of this package by bare name, after ultralytics' own look-up has found nothing."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from types import ModuleType

from ultralytics_diffattn.compat import MINIMUM_ULTRALYTICS, require_ultralytics

SCALE = r"^(yolo(?:e-)?\d+)[nslmx]"  # yolo11n-diffattn.yaml is yolo11-diffattn.yaml, yoloe-11n-... is yoloe-11-...
NEEDS = r"^min_ultralytics:\s*([\d.]+)"  # in a YAML whose stock rows are not in every supported ultralytics


def cfg_dir() -> Path:
    """Return the folder of the bundled YAMLs: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next((d for d in (package / "cfg", package.parent / "cfg") if d.is_dir()), package / "cfg")


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
    files = (cfg_dir() / folder / re.sub(SCALE, r"\1", name) for folder in ("", "controls", "datasets"))
    return next((str(f) for f in files if f.is_file()), None)


def attach(module: ModuleType, check: str, rows: tuple[str, ...] = ()) -> None:
    """Let a module's `check_yaml` or `check_file` fall back on `find` for what it does not find itself.

    Args:
        module (ModuleType): The module of ultralytics that calls the function.
        check (str): The function's name there.
        rows (tuple): Names in a YAML that need a supported ultralytics, or the one that the YAML names itself; without
            the check, one that is too old would stumble first over a stock row that it does not know either.
    """
    stock = module.__dict__.get(check)
    if stock is None or hasattr(stock, "stock"):
        return

    @functools.wraps(stock)
    def with_bundled(file, *args, **kwargs):
        try:
            found = stock(file, *args, **kwargs)
        except FileNotFoundError:  # none from a soft look-up (hard=False): stock may go on to a user's own file
            found = find(file)
            if found is None:
                raise
        if found and rows:
            text = Path(found).read_text(encoding="utf-8", errors="ignore")
            if any(row in text for row in rows):
                needs = re.search(NEEDS, text, re.MULTILINE)
                require_ultralytics(Path(found).name, needs[1] if needs else MINIMUM_ULTRALYTICS)
        return found

    vars(with_bundled)["stock"] = stock  # the mark that it is ours
    setattr(module, check, with_bundled)
