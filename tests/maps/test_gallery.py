"""gallery.py: the shares inside boxes that stand below each picture."""

import torch

from tests.samples import random_maps
from ultralytics_diffattn.maps import drawing, gallery


def test_shares_inside_boxes():
    """Of a map that looks at one token, all mass is inside a box that covers it, and none inside one that does not."""
    maps = random_maps()
    boxes = torch.tensor([[60.0, 40.0, 80.0, 60.0], [0.0, 0.0, 40.0, 60.0]])  # the last token; the left half
    entry = gallery.entry(maps._replace(boxes=boxes), "b.png", "b.jpg", (10, 10))
    assert entry.columns == [
        "object",
        "block",
        "box / image",
        "baseline",
        "A1",
        "A2",
        "A1 − λ·A2",
        "A1 − λ·A2, positive part",
    ]
    assert [row[2] for row in entry.rows] == ["0.083", "0.500"]
    assert [row[5] for row in entry.rows] == ["1.000", "0.000"]
    assert entry.rows[0][7] == "0.000"  # of the difference nothing is left there but negative weights
    a1 = maps.blocks["model.10.m.0.attn"].a1[1].mean(0)
    assert entry.rows[1][4] == f"{float(a1[:, :2].sum()):.3f}"
    assert gallery.entry(random_maps(), "b.png", "b.jpg", (1, 1)).rows[1:] == []  # its second object is a point


def test_a_block_without_counterpart_leaves_its_column_empty():
    """As stride 16 of yolo11n-diffattn-p4 beside yolo11n, which has no attention there."""
    maps = random_maps(objects=1, blocks=("model.6.m.0.attn", "model.10.m.0.attn"))
    coarse = maps.baseline["model.10.m.0.attn"]
    fine = maps.blocks["model.6.m.0.attn"]._replace(
        a1=torch.rand(1, 2, 6, 8).flatten(2).softmax(-1).unflatten(-1, (6, 8)),
        a2=torch.rand(1, 2, 6, 8).flatten(2).softmax(-1).unflatten(-1, (6, 8)),
        window=(0.0, 0.0, 8.0, 6.0),
    )
    maps = maps._replace(
        blocks={"model.6.m.0.attn": fine, "model.10.m.0.attn": maps.blocks["model.10.m.0.attn"]},
        baseline={"model.10.m.0.attn": coarse},
    )
    first, second = gallery.entry(maps, "b.png", "b.jpg", (10, 10)).rows
    assert (first[3], second[3] != "-", len(first), len(second)) == ("-", True, 8, 8)
    picture = drawing.draw(maps)
    columns = [drawing.LABELS + j * (240 + drawing.GAP) for j in range(6)]
    rows = picture[-2 * (180 + drawing.GAP) : -180 - drawing.GAP], picture[-180 - drawing.GAP :]
    empty = [[(row[:180, x : x + 240] == 255).all() for x in columns] for row in rows]
    assert empty == [[False, True, *[False] * 4], [False] * 6]
