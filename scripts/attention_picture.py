# Ultralytics DiffAttn - AGPL-3.0 License
"""Draw the README's picture: for each object its map of plain and of differential attention.

`python scripts/attention_picture.py model=ours.pt baseline=stock.pt source=bus.jpg out=docs/attention.png`, and any
argument of `yolo predict`. It shows all detected objects, up to max_det.
"""

import sys

import numpy as np
from PIL import Image, ImageDraw

from ultralytics_diffattn import attention_maps
from ultralytics_diffattn.maps import drawing
from ultralytics_diffattn.verbs.arguments import parse

COLUMNS = {drawing.PLAIN: "plain attention", drawing.DIFFERENCE: "differential attention"}


def draw(**args: object) -> Image.Image:
    """Return a row for each object of one image: the image, plain and differential attention, on one scale.

    Args:
        **args (object): Those of `attention_maps`.

    Returns:
        (PIL.Image.Image): RGB.
    """
    (maps,) = attention_maps(**args)
    small = drawing.resized(drawing.rgb_image(maps), drawing.PANEL)
    background, rows = drawing.faded(small), list(drawing.iterate_rows(maps, small.shape[:2]))
    h, w = (n + drawing.GAP for n in small.shape[:2])
    canvas = Image.new("RGB", (w * (1 + len(COLUMNS)), drawing.LINE + len(rows) * h), "white")
    pen, font = ImageDraw.Draw(canvas), drawing.font(drawing.TEXT)
    for j, title in enumerate(("object", *COLUMNS.values())):
        pen.text((j * w, 0), title, drawing.INK, font)
    for i, row in enumerate(rows):
        shown = [drawing.painted(background, row.maps[title] / row.scale) for title in COLUMNS]
        for j, panel in enumerate([drawing.marked(small, maps, row.index), *shown]):
            canvas.paste(Image.fromarray(np.asarray(panel)), (j * w, drawing.LINE + i * h))
    return canvas


if __name__ == "__main__":
    args = parse(sys.argv[1:], {"baseline": "", "out": ""})
    if not args.keys() >= {"model", "baseline", "source", "out"}:
        raise SystemExit(__doc__)
    out = args.pop("out")
    draw(**args).save(out)
