"""Images of any size, shape and number of channels: finite, alone as in a batch, and validated as stock's model."""

import copy
import functools

import cv2
import numpy as np
import pytest
import torch
import yaml
from ultralytics import YOLO
from ultralytics.data.base import BaseDataset
from ultralytics.nn import tasks

from ultralytics_diffattn import diff_attention
from ultralytics_diffattn.nn import backends

NAMES = {
    "split": "yolo11n-diffattn.yaml",
    "paired": "yolo11n-diffattn-paired.yaml",
    "token": "yolo11n-diffattn-token.yaml",
    "area": "yolo12n-diffattn-paired.yaml",
    "aifi": "rtdetr-l-diffattn-paired.yaml",
}
SMALL = [(32, 32), (32, 64), (64, 32), (96, 160), (352, 32)]


BRIGHT = torch.tensor([0.1, 1.0, 0.5, 0.0]).view(4, 1, 1, 1)  # else deep features of random images hardly differ


def tensors(y):
    """Return all floating tensors of an output, in order."""
    if isinstance(y, torch.Tensor):
        return [y] if y.is_floating_point() else []
    return [t for part in (y.values() if isinstance(y, dict) else y or ()) for t in tensors(part)]


def statistics(model):
    """Set BatchNorm from random images, as `awake` of samples.py does for three channels, and lambda."""
    torch.manual_seed(0)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(4, next(model.parameters()).shape[1], 128, 128) * BRIGHT)
    for norm in norms:
        norm.momentum = 0.03
    for name, parameter in model.named_parameters():
        if name.endswith(".lam"):
            torch.nn.init.uniform_(parameter, 0.1, 0.5)
    return model.eval()


@functools.cache
def build(kind, ch=3):
    """Return the one model of this kind that all tests share: copy it before changing more than its gradients."""
    torch.manual_seed(0)
    model = (tasks.RTDETRDetectionModel if kind == "aifi" else tasks.DetectionModel)(NAMES[kind], ch=ch, verbose=False)
    return statistics(model)


@functools.cache
def stock_rtdetr():
    return tasks.RTDETRDetectionModel("rtdetr-l.yaml", verbose=False).eval()


@functools.cache
def decodes(size):
    """Return whether stock's RT-DETR can; old releases cannot where there are fewer positions than queries."""
    try:
        return bool(stock_rtdetr()(torch.rand(1, 3, *size)))
    except RuntimeError:
        return False


def skip_what_stock_cannot(kind, size):
    if kind == "aifi" and not decodes(size):
        pytest.skip("the decoder of this ultralytics has more queries than the image positions")


@pytest.fixture(scope="module", autouse=True)
def models_of_this_file():
    """Let go of the shared models at the end."""
    yield
    build.cache_clear()
    stock_rtdetr.cache_clear()


@pytest.fixture(autouse=True)
def same_images():
    """Draw the same images whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return request.param, build(request.param)


@pytest.mark.parametrize("size", SMALL, ids=str)
def test_forward_and_backward(model, size):
    """One image alone; 32 px leave one position, and at stride 16 four, one for each area of YOLO12."""
    kind, model = model
    skip_what_stock_cannot(kind, size)
    model.eval().zero_grad()
    found = [y for y in tensors(model(torch.rand(1, 3, *size))) if y.requires_grad]
    assert found
    assert all(y.isfinite().all() for y in found)
    sum(y.square().mean() for y in found).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if ".attn." in n or ".ma." in n}
    assert gradients
    assert all(g is not None and g.isfinite().all() for g in gradients.values())


def test_areas_that_do_not_come_out_are_refused_as_by_stock():
    """No multiple of 32 px does that, and ultralytics makes no other."""
    with pytest.raises(RuntimeError, match="shape"):
        tasks.DetectionModel("yolo12n.yaml", verbose=False)(torch.rand(1, 3, 48, 48))
    with pytest.raises(ValueError, match="H=3, W=3 give 9 positions, which do not divide into area=4 areas"):
        build("area")(torch.rand(1, 3, 48, 48))


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (96, 160)], ids=str)
def test_alone_as_in_a_batch(model, size):
    skip_what_stock_cannot(model[0], size)
    model = copy.deepcopy(model[1]).eval().double()  # rounding depends on the batch, and deep layers enlarge it
    x = (torch.rand(4, 3, *size) * BRIGHT).double()
    with torch.no_grad():
        features = []
        model.model[-1].forward = lambda inputs, *_: features.append(inputs)  # the head is not needed
        model(x)
        for i in range(4):
            model(x[i : i + 1])
    for level, together in enumerate(features[0]):
        alone = torch.cat([f[level] for f in features[1:]])
        assert (alone[0] - alone[1]).abs().max() > 1e-3 * together.abs().max()
        torch.testing.assert_close(alone, together, rtol=1e-6, atol=1e-8 * float(together.abs().max()))


@pytest.mark.parametrize("kind", NAMES)
def test_the_largest(kind):
    model = build(kind).eval()
    with torch.no_grad():
        size = (1344, 1344) if kind in {"split", "paired", "token"} else (1344, 32 * 8)
        assert all(y.isfinite().all() for y in tensors(model(torch.rand(1, 3, *size))))


@pytest.mark.parametrize("tokens", [1, 2, 77, 400, 1764])  # 32, 32 x 64, 224 x 352, 640 and 1,344 px at stride 32
def test_backends_agree(tokens):
    g = torch.Generator().manual_seed(0)
    q1, k1, q2, k2 = torch.randn(4, 2, 2, tokens, 16, generator=g)
    v = torch.randn(2, 2, tokens, 64, generator=g)
    expected = diff_attention(*(x.double() for x in (q1, k1, q2, k2, v)), 0.8, backend="formula")
    for backend in ("auto", *backends.BACKENDS):
        y = diff_attention(q1, k1, q2, k2, v, 0.8, backend=backend)
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ch", [1, 4])
@pytest.mark.parametrize("kind", NAMES)
def test_other_numbers_of_channels(kind, ch):
    skip_what_stock_cannot(kind, (64, 96))
    found = tensors(build.__wrapped__(kind, ch)(torch.rand(1, ch, 64, 96)))
    assert all(y.isfinite().all() for y in found)


@pytest.mark.parametrize("shape", [(33, 47), (31, 500), (101, 67), (640, 480)], ids=str)
@pytest.mark.parametrize("kind", ["split", "paired", "token"])
def test_predicts_odd_sizes(kind, shape):
    """Whatever the letterbox makes of them."""
    model = YOLO(NAMES[kind])
    model.model.load_state_dict(build(kind).state_dict())
    (result,) = model.predict(np.full((*shape, 3), 127, np.uint8), imgsz=160, verbose=False, conf=0.0, max_det=5)
    assert result.orig_shape == shape
    assert result.boxes.data.isfinite().all()


@pytest.fixture(scope="module")
def oblong(tmp_path_factory):
    """Return a data YAML of eight images that are not square, with boxes."""

    def make(channels, suffix=".png"):
        root = tmp_path_factory.mktemp(f"oblong{channels}")
        rng = np.random.default_rng(0)
        for folder in ("images", "labels"):
            (root / folder).mkdir()
        for i, (h, w) in enumerate([(96, 64), (64, 96), (48, 128), (128, 48), (64, 64), (100, 60), (33, 90), (90, 70)]):
            image = rng.integers(0, 255, (h, w, channels) if channels > 1 else (h, w), np.uint8)
            file = str(root / "images" / f"{i}{suffix}")
            written = (
                cv2.imwritemulti(file, list(image.transpose(2, 0, 1)))
                if suffix == ".tiff"
                else cv2.imwrite(file, image)
            )
            assert written
            (root / "labels" / f"{i}.txt").write_text(f"{i % 2} 0.5 0.5 0.6 0.5\n")
        data = {"path": str(root), "train": "images", "val": "images", "names": ["a", "b"], "channels": channels}
        (root / "data.yaml").write_text(yaml.safe_dump(data))
        return str(root / "data.yaml")

    return make


@pytest.mark.parametrize("rect", [True, False])
def test_validates_as_stock_rect_or_not(rect, photos, tmp_path):
    """At lambda zero the paired model is stock's, and so are its metrics; rect is what lets the maps be oblong."""
    weights, data = photos
    stock, ours = YOLO(weights), YOLO("yolo11n-diffattn-paired.yaml")
    ours.model.names = stock.names
    assert not ours.model.load_state_dict(stock.model.state_dict(), strict=False).unexpected_keys
    results = []
    for name, model in (("stock", stock), ("ours", ours)):
        shapes = []

        def note(validator, shapes=shapes):
            shapes.extend(tuple(batch["img"].shape[2:]) for batch in validator.dataloader)

        model.add_callback("on_val_start", note)
        metrics = model.val(data=data, imgsz=160, batch=4, rect=rect, workers=0, plots=False, device="cpu",
                            project=tmp_path, name=name, verbose=False)  # fmt: skip
        results.append((metrics.results_dict, shapes))
    (expected, seen), (found, _) = results
    assert results[1][1] == seen
    assert any(h != w for h, w in seen) == rect
    assert expected["metrics/mAP50-95(B)"] > 0.1
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif("channels" not in BaseDataset.__init__.__code__.co_varnames, reason="data of three channels alone")
@pytest.mark.parametrize(("channels", "suffix"), [(1, ".png"), (4, ".tiff")])
@pytest.mark.parametrize("kind", ["split", "paired", "area"])
def test_trains_on_other_numbers_of_channels(kind, channels, suffix, oblong, tmp_path):
    model = YOLO(NAMES[kind])
    model.train(data=oblong(channels, suffix), imgsz=64, epochs=1, batch=4, workers=0, plots=False, device="cpu",
                project=tmp_path, name="run", amp=False, verbose=False)  # fmt: skip
    assert model.model.model[0].conv.in_channels == channels
    assert all(p.isfinite().all() for p in model.model.parameters())
