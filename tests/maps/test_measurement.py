"""measurement.py: a data set measured by hand, one image and one object at a time."""

import cv2
import numpy as np
import pytest
import torch
from ultralytics import YOLO

from tests.samples import VALIDATION, awake
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.maps import hooks, measurement
from ultralytics_diffattn.maps.attention_maps import load_copy
from ultralytics_diffattn.maps.statistics import STATISTICS

BLOCK = "model.10.m.0.attn"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    yolo = awake(YOLO("yolo11n-diffattn.yaml"))
    with torch.no_grad():  # else, untrained, a token looks at one other alone
        yolo.model.model[10].m[0].attn.qkv.bn.weight.mul_(0.15)
    return yolo


def by_hand(network, data):
    """Return shares and masses of each labelled object, one image and one object at a time."""
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
    measured = measurement.measure(load_copy(model), str(eighty), **VALIDATION)
    network = load_copy(model).model.eval()
    expected = by_hand(network, eighty)
    assert (measured["images"], measured["objects"]) == (4, len(expected))
    block = measured["blocks"][BLOCK]
    assert block["lambda"] == pytest.approx(network.model[10].m[0].attn.compute_lambda().item(), abs=1e-5)
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
    measured = measurement.measure(load_copy(model), str(eighty), load_copy(plain), **VALIDATION)
    (alone,) = measurement.measure(load_copy(plain), str(eighty), **VALIDATION)["blocks"].values()
    block = measured["blocks"][BLOCK]
    assert block["maps"]["baseline"] == alone["maps"]["A1"]
    assert (alone["lambda"], alone["removed"], alone["versus"]) == (None, {}, {})
    assert set(measured["mAP50-95"]) == {"model", "baseline"}
    gaps = block["versus"]["baseline"]
    for key in STATISTICS:
        both = [block["maps"][name][key] for name in ("difference", "baseline")]
        assert gaps[key]["difference"] == pytest.approx(both[0] - both[1], abs=1e-6)


def test_the_model_does_not_change(model, eighty):
    """Measuring adds a callback and fuses: to a copy."""
    before = {event: list(called) for event, called in model.callbacks.items()}
    state = {name: value.clone() for name, value in model.model.state_dict().items()}
    for _ in range(2):
        measurement.measure(load_copy(model), str(eighty), **VALIDATION)
    assert {event: list(called) for event, called in model.callbacks.items()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.model.state_dict().items())


def test_intervals_are_over_images():
    """All objects of an image come and go together; with one image there is nothing to resample."""
    images = np.array([0, 0, 0, 1])
    weights = np.array([[2, 0], [0, 2], [1, 1]])
    mean, spread = measurement._resample(images, weights, np.array([[1.0], [2.0], [3.0], [10.0]]))
    assert mean == 4
    assert spread.ravel().tolist() == [2, 10, 4]


def test_a_share_of_nothing_is_not_a_number():
    """Some resamples, or all, may have no mass of A1 in a region."""
    mass = np.array([[2.0, 1.0, 0.0, 3.0], [0.0, 1.0, 0.0, 1.0]])
    weights = np.array([[2, 0], [0, 2]])
    removed = measurement._removed(mass, lambda values: measurement._resample(np.array([0, 1]), weights, values))
    assert removed["outside"]["share"] == 0
    assert np.isnan([removed["inside"]["share"], *removed["inside"]["over_images"]]).all()


def test_refused(model, eighty, tiny):
    with pytest.raises(UserError, match=r"model= has 80 classes, the data set has 6"):
        measurement.measure(load_copy(model), str(tiny), **VALIDATION)
    with pytest.raises(UserError, match=r"data= is for detect, segment, pose, .* this model is for classify"):
        measurement.measure(load_copy(YOLO("yolo11n-cls.yaml")), str(eighty), **VALIDATION)
