"""focus.py: shares, entropy and sparsity against their definitions, and the whole on a data set with known answers."""

import math

import cv2
import numpy as np
import pytest
import torch
from ultralytics import YOLO

from tests.samples import VALIDATION, awake
from ultralytics_diffattn.maps import attention_maps, hooks, measurement

BLOCK = "model.10.m.0.attn"
ONE = torch.zeros(3, 4)
ONE[1, 2] = 1
LEFT = torch.tensor([[1.0, 1, 0, 0]] * 3)
MAPS = [  # a map, the cells inside, and share inside, entropy, sparsity
    (torch.full((3, 4), 1 / 12), LEFT, (0.5, 1, 0), "uniform"),
    (ONE, LEFT, (0, 0, 1), "one token, outside"),
    (ONE, 1 - LEFT, (1, 0, 1), "one token, inside"),
    (0.2 * ONE, 0.5 * (1 - LEFT), (0.5, 0, 1), "mass need not be 1, and half a cell counts half"),
    (LEFT - (1 - LEFT), LEFT, (0.5, 1, 0), "negative weights count as mass"),
    (
        LEFT / 6,
        LEFT,
        (1, math.log(6) / math.log(12), (math.sqrt(12) - math.sqrt(6)) / (math.sqrt(12) - 1)),
        "half of it",
    ),
    (torch.zeros(3, 4), LEFT, (0, 0, None), "nothing at all"),
    (torch.ones(1, 1), torch.ones(1, 1), (1, 0, 1), "a single token"),
]


@pytest.mark.parametrize(("m", "cover", "expected"), [pytest.param(m, c, e, id=i) for m, c, e, i in MAPS])
def test_measures(m, cover, expected):
    found = measurement.measures(m.double(), cover.double())
    assert found.isfinite().all()
    for value, wanted in zip(found.tolist(), expected, strict=True):
        assert wanted is None or value == pytest.approx(wanted, abs=1e-6)


def test_covered_cells_add_up_to_the_area():
    boxes = torch.tensor([[0.25, 0.5, 3.5, 2.0], [0.0, 0.0, 4.0, 3.0], [1.2, 1.2, 1.4, 1.3], [2.0, 1.0, 2.0, 1.0]])
    cover = measurement.covered(boxes, (3, 4))
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    torch.testing.assert_close(cover.sum((1, 2)), area)
    assert cover[0, 0, 0].item() == pytest.approx(0.75 * 0.5)
    assert (cover[1] == 1).all()
    assert cover[2].nonzero().tolist() == [[1, 1]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    yolo = awake(YOLO("yolo11n-diffattn.yaml"))
    with torch.no_grad():  # else, untrained, a token looks at one other alone
        yolo.model.model[10].m[0].attn.qkv.bn.weight.mul_(0.15)
    return yolo


def by_hand(network, data):
    """Return what is measured of each labelled object, one image and one object at a time."""
    out = []
    for file in sorted((data.parent / "images" / "val").iterdir()):
        image = torch.from_numpy(cv2.imread(str(file))[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
        assert image.shape[2:] == (320, 320)
        with torch.no_grad(), hooks.watch(network) as seen:
            network(image)
        (q1, k1), (q2, k2) = seen.heads[BLOCK].pairs
        a1, a2 = ((q[0] @ k[0].mT * seen.heads[BLOCK].scale).softmax(-1) for q, k in ((q1, k1), (q2, k2)))
        difference = a1 - seen.heads[BLOCK].lam * a2  # (heads, 100, 100)
        labels = np.loadtxt(data.parent / "labels" / "val" / f"{file.stem}.txt", ndmin=2)
        covers, rows = [], []
        for _, x, y, w, h in labels:  # on a grid of 10 x 10
            ends = [(10 * (c - s / 2), 10 * (c + s / 2)) for c, s in ((y, h), (x, w))]
            edges = [[max(0, min(i + 1, high) - max(i, low)) for i in range(10)] for low, high in ends]
            covers.append(np.outer(*edges).ravel())
            at = [[i for i in range(10) if low <= i + 0.5 <= high] or [int((low + high) / 2)] for low, high in ends]
            rows.append([10 * i + j for i in at[0] for j in at[1]])
        outside = 1 - np.max(covers, 0)
        for cover, tokens in zip(covers, rows, strict=True):
            first, last = (m[:, tokens].mean(1).numpy() for m in (a1, difference))  # (heads, 100)
            share = [(np.abs(m) * cover).sum(1) / np.abs(m).sum(1) for m in (first, last)]
            mass = [(np.abs(m) * c).sum(1) for c in (outside, cover) for m in (first, last)]
            out.append([*(s.mean() for s in share), *(m.mean() for m in mass)])
    return np.array(out)


def test_over_a_data_set(model, eighty):
    found = measurement.measure(attention_maps.own(model), str(eighty), **VALIDATION)
    network = attention_maps.own(model).model.eval()
    expected = by_hand(network, eighty)
    assert (found["images"], found["objects"]) == (4, len(expected))
    block = found["blocks"][BLOCK]
    assert block["lambda"] == pytest.approx(float(network.model[10].m[0].attn.compute_lambda()), abs=1e-5)
    first, last, *mass = expected.mean(0)
    assert block["maps"]["A1"]["inside"] == pytest.approx(first, rel=1e-3)
    assert block["maps"]["difference"]["inside"] == pytest.approx(last, rel=1e-3)
    assert 1 - block["removed"]["outside"]["share"] == pytest.approx(mass[1] / mass[0], rel=2e-3)
    assert 1 - block["removed"]["inside"]["share"] == pytest.approx(mass[3] / mass[2], rel=2e-3)
    assert block["versus"].keys() == {"A1"}
    gap = block["versus"]["A1"]["inside"]
    assert gap["difference"] == pytest.approx(last - first, rel=1e-2)
    assert gap["over_images"][0] <= gap["difference"] <= gap["over_images"][1]


def test_beside_a_baseline(model, eighty):
    plain = awake(YOLO("yolo11n.yaml"))
    found = measurement.measure(attention_maps.own(model), str(eighty), attention_maps.own(plain), **VALIDATION)
    (alone,) = measurement.measure(attention_maps.own(plain), str(eighty), **VALIDATION)["blocks"].values()
    block = found["blocks"][BLOCK]
    assert block["maps"]["baseline"] == alone["maps"]["A1"]
    assert (alone["lambda"], alone["removed"], alone["versus"]) == (None, {}, {})
    assert set(found["mAP50-95"]) == {"model", "baseline"}
    gaps = block["versus"]["baseline"]
    for key in measurement.MEASURES:
        both = [block["maps"][name][key] for name in ("difference", "baseline")]
        assert gaps[key]["difference"] == pytest.approx(both[0] - both[1], abs=1e-6)


def test_the_model_stays_as_it_is(model, eighty):
    """Measuring adds a callback and fuses: to a copy."""
    before = {event: list(called) for event, called in model.callbacks.items()}
    state = {name: value.clone() for name, value in model.model.state_dict().items()}
    for _ in range(2):
        measurement.measure(attention_maps.own(model), str(eighty), **VALIDATION)
    assert {event: list(called) for event, called in model.callbacks.items()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.model.state_dict().items())


def test_intervals_are_over_images():
    """All objects of an image come and go together; with one image there is nothing to resample."""
    images = np.array([0, 0, 0, 1])
    weights = np.array([[2, 0], [0, 2], [1, 1]])
    mean, spread = measurement._resample(images, weights, np.array([[1.0], [2.0], [3.0], [10.0]]))
    assert mean == 4
    assert spread.ravel().tolist() == [2, 10, 4]


def test_refused(model, eighty, tiny):
    with pytest.raises(ValueError, match=r"model= knows 80 classes, the data set has 6"):
        measurement.measure(attention_maps.own(model), str(tiny), **VALIDATION)
    with pytest.raises(ValueError, match=r"data= is for detect, segment, pose, .* this model is for classify"):
        measurement.measure(attention_maps.own(YOLO("yolo11n-cls.yaml")), str(eighty), **VALIDATION)
