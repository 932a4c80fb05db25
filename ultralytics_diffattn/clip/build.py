# Ultralytics DiffAttn - AGPL-3.0 License
"""A model to train: a new one, of the sizes in a YAML, or that of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from ultralytics.utils import YAML

from ultralytics_diffattn.bundled import path as bundled_path
from ultralytics_diffattn.clip.model import CLIP, DiffCLIP
from ultralytics_diffattn.errors import MissingFileError, UserError


def build(name: str | Path) -> CLIP:
    """Return a new model of a YAML, or that of a checkpoint.

    Args:
        name (str | Path): A YAML with `kind` (CLIP or DiffCLIP) and sizes, also a bundled one by its bare name; or
            what `CLIP.from_pretrained` takes.

    Returns:
        (CLIP): In training mode.

    Raises:
        MissingFileError: If there is no such file.
        UserError: If the YAML has another kind, other keys or sizes that cannot be.

    Examples:
        >>> type(build("diffclip-tiny.yaml")).__name__
        'DiffCLIP'
    """
    if not str(name).endswith((".yaml", ".yml")):
        return CLIP.from_pretrained(name).train()
    bundled = bundled_path("cfg") / "clip"
    file = Path(name) if Path(name).is_file() else bundled / name
    if not file.is_file():
        names = ", ".join(sorted(p.name for p in bundled.glob("*.yaml")))
        raise MissingFileError(f"there is no {name}; there are {names}, or give a YAML of your own.")
    sizes = YAML.load(file)
    kinds = {"CLIP": CLIP, "DiffCLIP": DiffCLIP}
    kind = sizes.pop("kind", None)
    if kind not in kinds:
        raise UserError(f"{file}: kind: {kind} must be CLIP or DiffCLIP.")
    try:
        return kinds[kind](**sizes)
    except (TypeError, ValueError) as e:
        raise UserError(f"{file}: {e}") from e
