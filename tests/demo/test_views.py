"""What is shown of an image: the maps are those of attention_maps, lambda by hand changes them and the boxes."""

import base64
import re
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics_diffattn.demo import detectors, images, views
from ultralytics_diffattn.demo.views import Look
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.maps.attention_maps import attention_maps
from ultralytics_diffattn.maps.drawing import titled

BOX = (60.0, 80.0, 140.0, 170.0)


def look(**changes):
    return Look(**{"box": BOX, "label": "square", "block": 1, "head": None, "lam": None, "confidence": 0.25, **changes})


def pixels(src):
    return np.asarray(Image.open(BytesIO(base64.b64decode(src.partition(",")[2]))))


def test_maps_of_a_kept_pass_are_those_of_a_new_one(seen):
    model, baseline = detectors.BUNDLED
    (fresh,) = attention_maps(model, images.example(0), xy=(100, 120), baseline=baseline)
    point = torch.tensor([[100.0, 120.0, 100.0, 120.0]])
    for kept, new in ((seen.model.maps(point), fresh.blocks), (seen.baseline.maps(point), fresh.baseline)):
        assert kept.keys() == new.keys()
        for name, block in kept.items():
            for a, b in zip(titled(block, None).values(), titled(new[name], None).values(), strict=True):
                torch.testing.assert_close(a[1], b[1])
    again = seen.model.maps(point)
    assert all(torch.equal(block.a1, again[name].a1) for name, block in seen.model.maps(point).items())


def test_panels(seen):
    shown = views.panels(seen, look())
    assert [panel["title"] for panel in shown["panels"]] == ["baseline", "A1", "A2", "λ·A2", "A1 − λ·A2"]
    a1, a2, difference = (pixels(shown["panels"][i]["src"]).astype(int) for i in (1, 2, 4))
    assert a1.shape == (420, 420, 3)
    assert np.abs(a1 - a2).mean() > 1
    assert np.abs(a1 - difference).mean() > 0.1
    assert shown["notes"][0] == "8.m.1.attn"
    assert views.panels(seen, look(head=1))["panels"][1]["src"] != views.panels(seen, look(head=0))["panels"][1]["src"]
    assert views.panels(seen, look(block=0))["notes"][0] == "8.m.0.attn"


def test_lambda_by_hand_changes_the_difference_and_the_boxes(seen):
    learned, zero, two = (views.panels(seen, look(lam=lam)) for lam in (None, 0.0, 2.0))
    assert "λ = 2.000" in two["notes"]
    panel = {name: {p["title"]: p["src"] for p in shown["panels"]} for name, shown in (("0", zero), ("2", two))}
    np.testing.assert_array_equal(pixels(panel["0"]["A1 − λ·A2"]), pixels(panel["0"]["A1"]))
    assert panel["2"]["A1 − λ·A2"] != panel["0"]["A1 − λ·A2"]
    scores = [[box["score"] for box in shown["boxes"]] for shown in (learned, zero, two)]
    assert scores[0] == [box["score"] for box in seen.model.boxes()]
    assert scores[0] != scores[1] != scores[2]
    assert list(seen.by_hand) == [2.0]


def test_a_model_without_differential_attention_shows_its_one_map(pair):
    plain = views.open_view(detectors.Pair(pair.baseline, None), images.example(0), "a.png")
    described = views.describe(plain)
    assert described["baseline_boxes"] is None
    assert [block["lambda"] for block in described["blocks"]] == [None, None]
    shown = views.panels(plain, look(lam=0.5))
    assert [panel["title"] for panel in shown["panels"]] == ["A1"]


def test_description(seen):
    described = views.describe(seen)
    assert (described["width"], described["height"]) == (320, 320)
    assert [(block["heads"], len(block["lambda"])) for block in described["blocks"]] == [(2, 2), (2, 2)]
    assert pixels(described["image"]).shape == (320, 320, 3)
    assert "image" not in views.describe(seen, with_image=False)
    for box in described["boxes"]:
        assert re.fullmatch(rf"(disc|square|triangle) {box['score']:.2f}", box["label"])


def test_the_picture_that_is_downloaded(seen):
    few, all_of_them = (Image.open(BytesIO(views.picture(seen, look(confidence=c)))) for c in (0.999, 0.05))
    assert few.format == "PNG"
    assert few.size == all_of_them.size
    assert np.any(np.asarray(few) != np.asarray(all_of_them))
    assert len(seen.model.result) == len(seen.model.boxes())  # what is kept has all boxes still


ASKED = {"box": list(BOX)}
REFUSED = [
    ({}, "must name a box"),
    ({"box": [1, 2, 3]}, "must name a box"),
    ({"point": ["x", 2]}, "must name a box"),
    ({"point": [float("nan"), 2]}, "must name a box"),
    ({"point": [500, 2]}, "must name a box"),
    ({"box": [9, 9, 1, 1]}, "must name a box"),
    ({**ASKED, "block": 2}, r"block 2 is out of range: there are 2"),
    ({**ASKED, "block": -1}, r"block -1 is out of range"),
    ({**ASKED, "head": 2}, r"head 2 is out of range: there are 2"),
    ({**ASKED, "lambda": 9}, r"lambda 9 is out of range: -1 to 2"),
    ({**ASKED, "lambda": float("nan")}, r"lambda nan is out of range"),
    ({**ASKED, "head": "first"}, "must name a box"),
]


@pytest.mark.parametrize(("asked", "message"), REFUSED, ids=[str(asked) for asked, _ in REFUSED])
def test_refused(asked, message, seen):
    with pytest.raises(UserError, match=message):
        views.parse_look(seen, asked)


def test_accepted(seen):
    assert views.parse_look(seen, {"point": [320, 320]}).box == (319.99, 319.99, 319.99, 319.99)
    assert views.parse_look(seen, {"box": [-5, -5, 400, 400], "lambda": 0}).box == (0.0, 0.0, 319.99, 319.99)
    views.panels(seen, views.parse_look(seen, {"point": [0, 0]}))
