"""drawing.py: what is drawn is what was measured, at any size of image."""

import numpy as np
import pytest
import torch

from tests.samples import random_maps
from ultralytics_diffattn.maps import drawing


def test_rows_are_multiples_of_uniform_attention():
    maps = random_maps()
    first, second = drawing.iterate_rows(maps, (3, 4))  # a pixel for each token
    assert list(first.maps) == ["baseline", "A1", "A2", "λ·A2", "A1 − λ·A2"]
    assert (first.index, second.index) == (0, 1)
    block, base = maps.blocks["model.10.m.0.attn"], maps.baseline["model.10.m.0.attn"]
    expected = {
        "baseline": base.a1,
        "A1": block.a1,
        "A2": block.a2,
        "λ·A2": block.subtracted,
        "A1 − λ·A2": block.difference,
    }
    for title, m in expected.items():
        torch.testing.assert_close(first.maps[title], m[0].mean(0) * 12)
    assert first.maps["A2"].max() == pytest.approx(12)  # all of 12 tokens' mass on one
    softmax = torch.stack([first.maps[t] for t in ("baseline", "A1", "A2")]).flatten()
    assert first.scale == pytest.approx(float(softmax.quantile(0.99)))
    assert first.labels == [
        "1  cell 0.90",
        "10.m.0.attn",
        "mean of heads",
        "λ = 0.600",
        f"full colour: {first.scale:.1f} ×",
    ]


def test_heads_and_blocks():
    maps = random_maps(objects=1, blocks=("model.6.attn", "model.10.attn"))
    names = list(maps.blocks)
    rows = list(drawing.iterate_rows(maps, (30, 40), heads=[0, 1, 2]))  # there is no third head
    assert [row.labels[1:4] for row in rows] == [
        ["6.attn", "head 0", "λ = 0.500"],
        ["6.attn", "head 1", "λ = 0.700"],
        ["10.attn", "head 0", "λ = 0.500"],
        ["10.attn", "head 1", "λ = 0.700"],
    ]
    torch.testing.assert_close(rows[1].maps["λ·A2"], 0.7 * rows[1].maps["A2"])
    other = maps.blocks[names[1]]._replace(a1=maps.blocks[names[1]].a1.flip(-1))
    maps.blocks[names[1]] = other
    both, a, b = (next(drawing.iterate_rows(maps, (30, 40), [group])) for group in (names, names[:1], names[1:]))
    torch.testing.assert_close(both.maps["A1"], (a.maps["A1"] + b.maps["A1"]) / 2)
    assert both.labels[1] == "mean of blocks"


def test_plain_model_has_one_map():
    (row,) = drawing.iterate_rows(random_maps(objects=1, plain=True, baseline=False), (30, 40))
    assert list(row.maps) == ["A1"]
    assert not any("λ" in text for text in row.labels)


def test_counterpart_by_name_then_by_grid():
    maps = random_maps(blocks=("a", "b"))
    assert drawing.counterpart("a", maps.blocks["a"], maps.baseline) is maps.baseline["a"]
    assert drawing.counterpart("c", maps.blocks["a"], maps.baseline) is maps.baseline["b"]
    small = random_maps(grid=(2, 2)).blocks["model.10.m.0.attn"]
    assert drawing.counterpart("c", small, maps.baseline) is None


def test_colours_show_the_sign():
    ground = np.full((1, 5, 3), 180, np.float32)
    out = drawing.painted(ground, torch.tensor([[0.0, 1.0, 3.0, -1.0, 0.5]])).astype(int)
    assert out[0, 0].tolist() == [180, 180, 180]
    assert out[0, 1].tolist() == out[0, 2].tolist()  # beyond full colour there is no more
    assert out[0, 1, 0] > out[0, 1, 2]  # orange
    assert out[0, 3, 2] > out[0, 3, 0]  # blue
    assert 180 < out[0, 4, 0] < out[0, 1, 0] or out[0, 4, 2] > out[0, 1, 2]


SHAPES = [(32, 32), (1, 1), (3000, 4000), (20, 2000), (2000, 20), (60, 80, 1), (60, 80, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_image_is_drawn(shape):
    maps = random_maps(shape)
    drawn = drawing.draw(maps)
    assert drawn.dtype == np.uint8
    longest = max(drawn.shape[:2])
    assert 600 < longest < 3000, drawn.shape
    assert drawn.std() > 1


def test_without_detections_the_legend_tells_what_to_do():
    maps = random_maps(objects=0)
    assert drawing._legend(maps, [])[1].startswith("No object was detected")
    assert drawing.draw(maps).shape[2] == 3


def test_box_and_point_are_marked():
    maps = random_maps()
    blank = np.zeros((60, 80, 3), np.uint8)
    box = drawing.marked(blank, maps, 0).any(-1)
    assert (np.flatnonzero(box.any(0))[[0, -1]] == [7, 41]).all()  # 8 and 40, two pixels wide
    cross = drawing.marked(blank, maps, 1).any(-1)
    assert cross[36, 48]
    assert not cross[30, 40]
