# Ultralytics DiffAttn - AGPL-3.0 License
"""Draw the README's picture of attention: each object, where plain and where differential attention look for it.

`python scripts/attention_picture.py model=ours.pt baseline=stock.pt source=bus.jpg out=docs/attention.png`, and any
argument of `yolo predict`. The objects are all that are found, up to max_det.
"""

import sys

import numpy as np
from PIL import Image, ImageDraw

from ultralytics_diffattn import attention_maps, panels
from ultralytics_diffattn.cli import parse

COLUMNS = {panels.PLAIN: "plain attention", panels.DIFFERENCE: "differential attention"}


def draw(**args: object) -> Image.Image:
    """Return a row for each object of one image: the image, plain and differential attention, on one scale.

    Args:
        **args (object): Those of `attention_maps`.

    Returns:
        (PIL.Image.Image): RGB.
    """
    (maps,) = attention_maps(**args)
    small = panels.resized(panels.picture(maps), panels.PANEL)
    ground, rows = panels.faded(small), list(panels.rows_of(maps, small.shape[:2]))
    h, w = (n + panels.GAP for n in small.shape[:2])
    canvas = Image.new("RGB", (w * (1 + len(COLUMNS)), panels.LINE + len(rows) * h), "white")
    pen, font = ImageDraw.Draw(canvas), panels.font(panels.TEXT)
    for j, title in enumerate(("object", *COLUMNS.values())):
        pen.text((j * w, 0), title, panels.INK, font)
    for i, row in enumerate(rows):
        shown = [panels.painted(ground, row.maps[title] / row.strongest) for title in COLUMNS]
        for j, panel in enumerate([panels.marked(small, maps, row.index), *shown]):
            canvas.paste(Image.fromarray(np.asarray(panel)), (j * w, panels.LINE + i * h))
    return canvas


if __name__ == "__main__":
    args = parse(sys.argv[1:], {"baseline": "", "out": ""})
    if not args.keys() >= {"model", "baseline", "source", "out"}:
        raise SystemExit(__doc__)
    out = args.pop("out")
    draw(**args).save(out)
