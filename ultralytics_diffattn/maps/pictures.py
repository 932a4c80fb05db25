# Ultralytics DiffAttn - AGPL-3.0 License
"""Pictures of attention maps, one for each image of a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from ultralytics.engine.model import Model
from ultralytics.utils import LOGGER

from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.maps import gallery
from ultralytics_diffattn.maps.attention_maps import each_image
from ultralytics_diffattn.maps.drawing import draw


@dataclass(frozen=True)
class Selection:
    """What is drawn of each image.

    Attributes:
        blocks (Sequence[Sequence[str]] | None): Names of attention blocks, in groups of which the mean makes a row;
            None for each by itself.
        heads (Sequence[int | None] | None): Heads, each in a row, None for their mean; None for the mean alone.
        xy (Sequence[float] | None): Points x, y, x, y, ... in pixels, in place of the detections.
    """

    blocks: Sequence[Sequence[str]] | None = None
    heads: Sequence[int | None] | None = None
    xy: Sequence[float] | None = None


def draw_source(
    folder: Path,
    yolo: Model,
    source: Any,
    selection: Selection,
    baseline: Model | None = None,
    **args: Any,
) -> Iterator[gallery.Entry]:
    """Draw each image of a source into a folder, and yield its entry in the gallery once the picture is written.

    Args:
        folder (Path): Where the pictures go; it exists.
        yolo (ultralytics.YOLO): The model.
        source (Any): Any source of ultralytics' prediction.
        selection (Selection): What is drawn.
        baseline (ultralytics.YOLO, optional): A second model, whose maps stand beside.
        **args (Any): Further arguments of ultralytics' prediction.

    Yields:
        (gallery.Entry): One for each image or frame.

    Raises:
        UserError: If no image can be read, or as `each_image`.
    """
    names = _FileNames()
    for maps in each_image(yolo, source, selection.xy, baseline, **args):
        path = Path(maps.result.path)
        file = f"{names.unused(path.stem)}.png"
        picture = Image.fromarray(draw(maps, selection.blocks, selection.heads))
        picture.save(folder / file, compress_level=1)  # more takes longer than all the rest, for a tenth of the size
        if not maps.labels:
            LOGGER.warning(f"{path}: no object was detected; lower conf=, or give a point, as in xy=320,240.")
        yield gallery.entry(maps, file, path.name, picture.size)
    if not names.used:
        raise UserError(f"source={source} holds no image that can be read.")


class _FileNames:
    """Names that do not meet: of frames of a video, 1.jpg beside 1.png, and 1-2.jpg beside both."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.counts: Counter[str] = Counter()

    def unused(self, stem: str) -> str:
        """Return the stem, with a number behind it if it is used already."""
        name = stem
        while name in self.used:
            self.counts[stem] += 1
            name = f"{stem}-{self.counts[stem] + 1}"
        self.used.add(name)
        return name
