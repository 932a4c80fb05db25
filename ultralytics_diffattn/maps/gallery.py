# Ultralytics DiffAttn - AGPL-3.0 License
"""What `diffattn attend` leaves: a page with its pictures, and the numbers as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics_diffattn.maps.attention_maps import BlockMaps, ImageMaps
from ultralytics_diffattn.maps.drawing import A1, A2, DIFFERENCE, PLAIN, SUBTRACTED, counterpart, titled
from ultralytics_diffattn.maps.measurement import covered, measures
from ultralytics_diffattn.output.formatting import interval, percent, signed
from ultralytics_diffattn.output.html import template
from ultralytics_diffattn.output.markdown import table

TITLES = {"baseline": PLAIN, "A1": A1, "A2": A2, "difference": DIFFERENCE, "positive": f"{DIFFERENCE}, positive part"}
HEAD = "map", "mass inside the box", "times its area", "entropy", "sparsity"
TEMPLATE = Path(__file__).with_name("gallery.html.j2")
SAID = (
    "Mean over labelled objects and heads. Mass inside the box: 0 to 1; times its area: over what uniform attention "
    "would put there. Entropy: 1 for a uniform map, 0 for one that looks at one token. Sparsity (Hoyer's): the other "
    "way round. Negative weights count with their absolute value, so a subtraction can also add mass: a share below "
    "zero. Intervals: 95 %, over resampled images."
)


def page(
    model: str, baseline: str | None, command: str, entries: list[dict[str, Any]], found: dict[str, Any] | None
) -> str:
    """Return the gallery.

    Args:
        model (str): What the model is called.
        baseline (str, optional): What the baseline is called.
        command (str): That made it.
        entries (list[dict]): From `entry`.
        found (dict, optional): From `focus.measure`.

    Returns:
        (str): HTML, which shows pictures that lie beside it.
    """
    blocks = [] if found is None else [_block(name, block, found) for name, block in found["blocks"].items()]
    return template(TEMPLATE).render(
        model=model,
        baseline=baseline,
        command=command,
        entries=entries,
        widest=max((e["width"] for e in entries), default=0),
        table=blocks,
        said=f"{_scope(found)} {SAID}" if found else "",
    )


def entry(maps: ImageMaps, file: str, source: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return what the page shows of one image.

    Args:
        maps (ImageMaps): From `attention_maps`.
        file (str): The picture, beside the page.
        source (str): What the image is called.
        size (tuple[int, int]): Width and height of the picture.

    Returns:
        (dict): `file`, `source`, `width`, `height`, `alt`, and the table of shares inside boxes, `head` and `rows`.
    """
    found = ", ".join(maps.labels) or "nothing found"
    columns: list[str] = []
    told = []
    for name, block in maps.blocks.items():
        shown = titled(block, counterpart(name, block, maps.baseline))
        if shown.pop(SUBTRACTED, None):  # a multiple of A2, so its share is A2's
            shown[TITLES["positive"]] = block, block.difference.clamp(min=0)
        columns = max(columns, list(shown), key=len)  # not every block has a counterpart
        for i, (label, box) in enumerate(zip(maps.labels, maps.boxes, strict=True)):
            if box[0] == box[2]:  # a point has no inside
                continue
            shares = {}
            for title, (home, m) in shown.items():
                cover = covered(_in_cells(box, home, maps)[None], tuple(m.shape[-2:]))
                shares[title] = f"{float(measures(m[i], cover)[:, 0].mean()):.3f}"
            h, w = maps.result.orig_shape
            area = float((box[2] - box[0]) * (box[3] - box[1])) / (h * w)
            told.append(([f"{i + 1}  {label}", name.removeprefix("model."), f"{area:.3f}"], shares))
    rows = [[*cells, *(shares.get(title, "-") for title in columns)] for cells, shares in told]
    head = ["object", "block", "box / image", *columns] if rows else []
    alt = f"Attention maps of {source}: {found}"
    return {"file": file, "source": source, "width": size[0], "height": size[1], "alt": alt, "head": head, "rows": rows}


def _in_cells(box: Tensor, block: BlockMaps, maps: ImageMaps) -> Tensor:
    """Return a box in pixels of the image, (4,), in cells of a block's grid."""
    h, w = maps.result.orig_shape
    left, top, right, bottom = block.window
    return box * torch.tensor([(right - left) / w, (bottom - top) / h] * 2) + torch.tensor([left, top] * 2)


def as_markdown(found: dict[str, Any]) -> str:
    """Return the table of numbers, a table and sentences for each block.

    Args:
        found (dict): From `focus.measure`.

    Returns:
        (str): Markdown.
    """
    lines = [_scope(found), ""]
    for name, block in found["blocks"].items():
        told = _block(name, block, found)
        lines += [f"{told['name']}:", "", *table(told["head"], told["rows"])]
        lines += ["", *(f"- {sentence}" for sentence in told["sentences"]), ""]
    return "\n".join([*lines, SAID]) + "\n"


def _scope(found: dict[str, Any]) -> str:
    scores = ", ".join(f"{score:.3f} ({name})" for name, score in found["mAP50-95"].items())
    return f"{found['objects']:,} labelled objects in {found['images']:,} validation images; mAP50-95 {scores}."


def _block(name: str, block: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Return `name`, `head`, `rows` and `sentences` of a block."""
    rows = []
    for key, row in block["maps"].items():
        times = row["inside"] / found["area"] if found["area"] else 0
        rows.append(
            [TITLES[key], f"{row['inside']:.3f}", f"{times:.2f}", f"{row['entropy']:.3f}", f"{row['sparsity']:.3f}"]
        )
    sentences = []
    if block["removed"]:
        shares = {
            place: f"{percent(r['share'])} ({percent(r['over_images'][0])} to {percent(r['over_images'][1])})"
            for place, r in block["removed"].items()
        }
        sentences.append(
            f"The subtraction removes {shares['outside']} of A1's mass outside all boxes, and {shares['inside']} of "
            "that inside the object's own."
        )
    for other, gaps in block["versus"].items():
        told = (f"{key} {signed(g['difference'])} ({interval(g['over_images'])})" for key, g in gaps.items())
        sentences.append(f"{DIFFERENCE} minus {TITLES[other]}: {', '.join(told)}.")
    lam = "" if block["lambda"] is None else f", λ = {block['lambda']:.3f}"
    return {"name": f"{name}{lam}", "head": HEAD, "rows": rows, "sentences": sentences}
