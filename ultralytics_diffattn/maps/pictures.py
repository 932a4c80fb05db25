# Ultralytics DiffAttn - AGPL-3.0 License
"""Pictures of attention maps, one for each image of a source."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from PIL import Image
from ultralytics.utils import LOGGER

from ultralytics_diffattn.maps import gallery
from ultralytics_diffattn.maps.attention_maps import each_image
from ultralytics_diffattn.maps.drawing import draw


def pictures(
    folder: Path,
    entries: list[dict[str, Any]],
    yolo: Any,
    source: Any,
    xy: Any,
    plain: Any,
    blocks: list[list[str]],
    heads: list[int | None],
    args: dict[str, Any],
) -> None:
    """Draw each image of a source into a folder.

    Args:
        folder (Path): Where the pictures go.
        entries (list[dict]): What the gallery shows is appended here, so that an interruption loses nothing.
        yolo (ultralytics.YOLO): The model.
        source (Any): Whatever `yolo predict` takes.
        xy (Sequence[float], optional): Points.
        plain (ultralytics.YOLO, optional): The baseline.
        blocks (list[list[str]]): From `chosen_blocks`.
        heads (list[int | None]): From `chosen_heads`.
        args (dict): Further arguments of ultralytics' prediction.

    Raises:
        ValueError: If no image could be read.
    """
    names, taken = defaultdict(lambda: 1), set()
    for maps in each_image(yolo, source, xy, plain, **args):
        name = file = Path(maps.result.path).stem
        while file in taken:  # frames of a video, 1.jpg beside 1.png, and 1-2.jpg beside both
            names[name] += 1
            file = f"{name}-{names[name]}"
        taken.add(file)
        file = f"{file}.png"
        picture = Image.fromarray(draw(maps, blocks, heads))
        picture.save(folder / file, compress_level=1)  # more takes longer than all the rest, for a tenth of the size
        entries.append(gallery.entry(maps, file, Path(maps.result.path).name, picture.size))
        if not maps.labels:
            LOGGER.warning(f"{maps.result.path}: nothing was found; lower conf=, or give a point, as in xy=320,240.")
    if not entries:
        raise ValueError(f"source={source} holds no image that can be read.")
