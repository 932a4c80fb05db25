"""`export`: the exported file finds what PyTorch finds, or the call fails; and the comparison itself, by hand."""

import re
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.engine.exporter import Exporter
from ultralytics.engine.results import Results

from tests.places import TASKS
from tests.samples import SMALL_RTDETR, awake, small_models
from ultralytics_diffattn.errors import MissingPackageError, UserError
from ultralytics_diffattn.evaluation.agreement import TOLERANCES, difference
from ultralytics_diffattn.verbs import export as module
from ultralytics_diffattn.verbs.export import export


@pytest.fixture
def unsure(tmp_path):
    """Return weights that nobody trained, of a model whose every part has an effect."""

    def make(name="yolo11n-diffattn.yaml"):
        torch.manual_seed(0)
        model = YOLO(name)
        for p in model.model.parameters():
            p.data += 0.02 * torch.randn_like(p)
        if model.task == "pose":  # else its boxes are the image, and equals are paired at random
            awake(model)
        model.ckpt = {"train_args": {"task": model.task}}  # a trainer saves both; ultralytics 8.3 asks for them
        model.model.kpt_shape = [17, 3]
        model.save(tmp_path / "m.pt")
        return str(tmp_path / "m.pt")

    return make


def noisy(monkeypatch):
    """Have ultralytics export a model with other weights than those in the file."""
    stock = Exporter.__call__

    def other(self, model):
        model, generator = deepcopy(model), torch.Generator().manual_seed(1)
        for p in model.parameters():
            p.data *= 1 + 0.1 * torch.randn(p.shape, generator=generator)
        return stock(self, model=model)

    monkeypatch.setattr(Exporter, "__call__", other)


@pytest.mark.parametrize("kind", ["onnx", "torchscript", "openvino"])
def test_trained_weights(kind, photos):
    if kind == "openvino":
        pytest.importorskip("openvino")
    model, data = photos
    report = export(model=model, format=kind, imgsz=320, data=data)
    expected = {"format": kind, "tested": True, "compared": True, "images": 16, "conf": 0.25, "precision": "float32"}
    assert {k: report[k] for k in expected} == expected
    assert report["corner"] < 0.1  # on every processor, also where OpenVINO would compute in bfloat16
    assert report["boxes"] == sum(
        len(r) for r in YOLO(model).predict(str(Path(data).parent / "images" / "val"), imgsz=320, rect=False)
    )
    assert report["pairs"] >= 0.95 * report["boxes"] > 20
    assert 0 < report["latency_ms"]["pytorch"]
    assert 0 < report["latency_ms"]["exported"]
    assert report["size_mb"] == pytest.approx(sum(f.stat().st_size for f in files(report["file"])) / 2**20)


def files(path):
    return [Path(path)] if Path(path).is_file() else [f for f in Path(path).rglob("*") if f.is_file()]


@pytest.mark.parametrize(
    "other", [dict(batch=3), dict(batch=3, dynamic=True), dict(imgsz=(64, 96)), dict(nms=True)], ids=str
)
def test_arguments_of_ultralytics(other, tiny, tmp_path):
    torch.manual_seed(0)
    model = awake(YOLO(small_models(tmp_path)[1]))
    model.model.model[-1].cv3[0][-1].bias.data.zero_()  # scores about 0.5
    model.save(tmp_path / "m.pt")
    source = str(tiny.parent / "images" / "val")
    report = export(**{"model": str(tmp_path / "m.pt"), "format": "onnx", "imgsz": 64, "source": source, **other})
    assert report["images"] == 4
    assert report["conf"] == 0.25  # sure enough also for a graph with its own non-maximum suppression
    assert report["pairs"] == report["boxes"] >= 20
    assert report["corner"] < 0.01
    assert report["score"] < 1e-4


@pytest.mark.parametrize(
    "model",
    [
        *(f"yolo11n-diffattn{suffix}" for suffix in TASKS),
        "yolo26n-diffattn-paired-sem",
        "yolo26n-diffattn-paired-depth",
    ],
)
def test_every_task_without_training(model, unsure, tiny):
    report = export(
        model=unsure(f"{model}.yaml"),
        format="onnx",
        imgsz=64,
        source=str(tiny.parent / "images" / "val"),
    )
    assert report["images"] == 4
    assert report.get("mask", 1) > 0.99
    assert report.get("keypoint", 0) < 0.01
    assert report.get("pixels", 0) < 0.01
    assert [key in report for key in ("mask", "keypoint", "pixels")] == [
        "-seg" in model, "-pose" in model, model.endswith(("-sem", "-depth"))
    ]  # fmt: skip
    if model.endswith(("-cls", "-sem", "-depth")):
        assert (report["boxes"], report["corner"]) == (0, None)
    else:
        assert 0 < report["conf"] <= 0.25  # low enough that there is something to compare
        assert report["pairs"] == report["boxes"] > 0
        assert report["corner"] < 0.01


def test_rtdetr(tmp_path, tiny):
    """Its boxes are shares of the image, which only ultralytics' `RTDETR` knows of an exported file."""
    torch.manual_seed(0)
    (tmp_path / "rtdetr.yaml").write_text(SMALL_RTDETR)
    RTDETR(str(tmp_path / "rtdetr.yaml")).save(tmp_path / "rtdetr.pt")
    source = str(tiny.parent / "images" / "val")
    report = export(model=str(tmp_path / "rtdetr.pt"), format="onnx", imgsz=128, source=source)
    assert report["pairs"] == report["boxes"] > 0
    assert report["corner"] < 0.01


@pytest.mark.parametrize("suffix", TASKS)
def test_other_weights_in_the_exported_file(suffix, unsure, tiny, monkeypatch):
    noisy(monkeypatch)
    with pytest.raises(
        RuntimeError,
        match=re.escape("m.torchscript, which computes in float32, does not predict what PyTorch predicts"),
    ):
        export(
            model=unsure(f"yolo11n-diffattn{suffix}.yaml"),
            format="torchscript",
            imgsz=64,
            source=str(tiny.parent / "images" / "val"),
        )


def test_other_weights_in_the_exported_file_of_a_trained_model(photos, monkeypatch):
    noisy(monkeypatch)
    with pytest.raises(RuntimeError, match="boxes differ more than allowed, or are found by only one of the two"):
        export(model=photos[0], format="onnx", imgsz=320, data=photos[1])


def test_nothing_to_compare_is_no_agreement(unsure, tiny):
    with pytest.raises(RuntimeError, match="was not compared, since PyTorch finds no boxes in 4 images"):
        export(model=unsure(), format="torchscript", imgsz=64, nms=True, source=str(tiny.parent / "images" / "val"))


@pytest.mark.parametrize("tested", [True, False])
def test_a_file_that_does_not_run(tested, unsure, tiny, monkeypatch, tmp_path):
    """Where the project tests the format that is an error; of the others many run elsewhere alone."""
    stock = YOLO.export

    def broken(self, **kwargs):
        file = stock(self, **kwargs)
        Path(file).write_bytes(b"nonsense")
        return file

    monkeypatch.setattr(YOLO, "export", broken)
    monkeypatch.setattr(module, "TESTED", ("torchscript",) if tested else ("onnx",))
    arguments = dict(model=unsure(), format="torchscript", imgsz=64, source=str(tiny.parent / "images" / "val"))
    if tested:
        with pytest.raises(RuntimeError):
            export(**arguments)
    else:
        report = export(**arguments)
        assert (report["compared"], report["tested"]) == (False, False)
        assert report["reason"]
    assert (tmp_path / "m.torchscript").is_file()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(), ValueError, "model= is missing"),
        (dict(model="no-such-weights.pt"), FileNotFoundError, "no-such-weights.pt"),
        (dict(model="m.pt", format="onxx"), ValueError, "format=onxx is unknown. Did you mean onnx"),
        (dict(model="m.pt", format="zzz"), ValueError, "format=zzz is unknown. It is one of torchscript, onnx"),
        (dict(model="m.pt", source="empty"), ValueError, "holds no images; allowed are files of type "),
        (dict(model="m.pt", source="no-such-folder"), FileNotFoundError, "no-such-folder"),
    ],
    ids=str,
)
def test_bad_input_is_named_before_anything_is_exported(arguments, error, message, unsure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unsure()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(error, match=re.escape(message)):
        export(**{"format": "onnx", **arguments})
    assert not list(tmp_path.glob("*.onnx"))


def test_a_precision_that_the_format_lacks(unsure, tmp_path):
    weights = unsure()
    with pytest.raises(UserError, match="not supported"):
        export(model=weights, format="torchscript", imgsz=64, int8=True)
    assert [str(file) for file in tmp_path.glob("m*")] == [weights]


@pytest.mark.skipif(find_spec("ncnn") is not None, reason="ncnn is installed")
def test_a_format_whose_packages_are_missing(unsure, tmp_path):
    weights = Path(unsure())
    before = weights.read_bytes()
    with pytest.raises(MissingPackageError, match=r'No module named .ncnn.*pip install --no-deps "ncnn"'):
        export(model=str(weights), format="ncnn", imgsz=64)
    assert weights.read_bytes() == before
    assert [*tmp_path.glob("m*")] == [weights]


@pytest.mark.parametrize(("n", "expected"), [(3, [0, 1, 2]), (16, list(range(16))), (40, list(range(0, 40, 3)))])
def test_images_are_spread_over_the_folder(n, expected, tmp_path):
    for i in range(n):
        (tmp_path / f"{i:03}.jpg").touch()
    (tmp_path / "a.txt").touch()
    assert module.images_in(tmp_path) == [str(tmp_path / f"{i:03}.jpg") for i in expected]


def boxes(*rows, shape=(64, 64)):
    return Results(
        np.zeros((*shape, 3), np.uint8),
        path="",
        names=dict.fromkeys(range(3), "x"),
        boxes=torch.tensor(rows).reshape(-1, 6),
    )


def rotated(*rows):
    return Results(np.zeros((64, 64, 3), np.uint8), path="", names={0: "x"}, obb=torch.tensor(rows).reshape(-1, 7))


def classes(*probabilities):
    return Results(
        np.zeros((64, 64, 3), np.uint8), path="", names=dict.fromkeys(range(3), "x"), probs=torch.tensor(probabilities)
    )


A, B = (10.0, 10.0, 40.0, 40.0, 0.9, 0.0), (12.0, 10.0, 40.0, 44.0, 0.9, 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected", "options"),
    [  # expected: boxes, pairs, corner, score, far, alone; float16 allows 2 px and 0.02
        (boxes(A), boxes(A), (1, 1, 0, 0, 0, 0), {}),
        (boxes(), boxes(), (0, 0, 0, 0, 0, 0), {}),
        (boxes(A, B), boxes(B, A), (2, 2, 0, 0, 0, 0), {}),  # the order does not count
        (boxes(A), boxes(B), (1, 1, 4, 0, 1, 0), {}),  # 4 px: far
        (boxes(A, shape=(32, 64)), boxes(B, shape=(32, 64)), (1, 1, 4, 0, 1, 0), {}),
        (boxes(A, shape=(128, 128)), boxes(B, shape=(128, 128)), (1, 1, 2, 0, 0, 0), {}),  # 2 px of the input
        (boxes(A), boxes((*A[:4], 0.85, 0.0)), (1, 1, 0, 0.05, 1, 0), {}),  # the score is far
        (boxes(A), boxes((*A[:5], 1.0)), (1, 0, 0, 0, 0, 2), {}),  # another class
        (boxes(A), boxes(), (1, 0, 0, 0, 0, 1), {}),
        (boxes(), boxes(A), (0, 0, 0, 0, 0, 1), {}),
        (boxes(A), boxes(A, A), (1, 1, 0, 0, 0, 1), {}),  # one to one
        (boxes(A), boxes((40.0, 40.0, 60.0, 60.0, 0.9, 0.0)), (1, 0, 0, 0, 0, 2), {}),  # elsewhere
        (boxes((*A[:4], 0.26, 0.0)), boxes(), (1, 0, 0, 0, 0, 0), {}),  # near the threshold
        (boxes((*A[:4], 0.26, 0.0)), boxes(), (1, 0, 0, 0, 0, 1), {"conf": 0.1}),
        (boxes((*A[:4], 0.012, 0.0)), boxes(), (1, 0, 0, 0, 0, 1), {"conf": 0.01}),  # a low one allows less
        (boxes(A, (*B[:4], 0.5, 1.0)), boxes(A), (2, 1, 0, 0, 0, 0), {"max_det": 2}),  # the last of as many as may be
        (
            rotated((30.0, 30.0, 20.0, 10.0, 0.0, 0.9, 0.0)),
            rotated((30.0, 30.0, 10.0, 20.0, torch.pi / 2, 0.9, 0.0)),
            (1, 1, 0, 0, 0, 0),
            {},
        ),
        (
            rotated((30.0, 30.0, 20.0, 10.0, 0.0, 0.9, 0.0)),
            rotated((33.0, 30.0, 20.0, 10.0, 0.0, 0.9, 0.0)),
            (1, 1, 3, 0, 1, 0),
            {},
        ),
        (classes(0.9, 0.1, 0.0), classes(0.89, 0.11, 0.0), (0, 0, 0, 0.01, 0, 0), {}),
        (classes(0.9, 0.1, 0.0), classes(0.8, 0.1, 0.1), (0, 0, 0, 0.1, 1, 0), {}),
        (classes(0.9, 0.1, 0.0), classes(float("nan"), 0.1, 0.1), (0, 0, 0, float("nan"), 1, 0), {}),
    ],
)
def test_difference(ours, theirs, expected, options):
    result = difference(ours, theirs, TOLERANCES["float16"], [64, 64], **options)
    assert tuple(result)[:6] == pytest.approx(expected, abs=1e-5, nan_ok=True)


def square(left, side=20):
    """Return a mask, (64, 64), of a square from a column on."""
    mask = torch.zeros(64, 64)
    mask[10 : 10 + side, left : left + side] = 1
    return mask


def with_masks(*masks):
    return Results(
        np.zeros((64, 64, 3), np.uint8), "", {0: "x"}, boxes=torch.tensor([A] * len(masks)), masks=torch.stack(masks)
    )


def with_keypoint(x, size=64):
    return Results(
        np.zeros((size, size, 3), np.uint8),
        "",
        {0: "x"},
        boxes=torch.tensor([A]),
        keypoints=torch.tensor([[[x, 5.0, 0.9], [7.0, 7.0, 0.1]]]),
    )


def with_classes(share):
    """Return a map of classes, of whose pixels a share is of another class."""
    return Results(
        np.zeros((10, 10, 3), np.uint8),
        "",
        {0: "x"},
        semantic_mask=(torch.arange(100) < 100 * share).view(10, 10).int(),
    )


def with_depth(*shares):
    """Return a map of depths, a quarter of it times each of four factors."""
    depth = torch.linspace(1, 9, 25).repeat(4).view(4, 25) * torch.tensor(shares)[:, None]
    return Results(np.zeros((4, 25, 3), np.uint8), "", {0: "x"}, depth=depth)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [  # expected: far, mask, keypoint, pixels; float16 allows an IoU of 0.9, 2 px, 15 %
        (with_masks(square(10)), with_masks(square(10)), (0, 1, 0, 0)),
        (with_masks(square(10)), with_masks(square(11)), (0, 380 / 420, 0, 0)),  # 19 of 21 columns
        (with_masks(square(10)), with_masks(square(20)), (1, 1 / 3, 0, 0)),
        (with_masks(square(10)), with_masks(torch.zeros(64, 64)), (1, 0, 0, 0)),
        (with_masks(torch.zeros(64, 64)), with_masks(torch.zeros(64, 64)), (0, 1, 0, 0)),
        (with_keypoint(5.0), with_keypoint(6.5), (0, 1, 1.5, 0)),
        (with_keypoint(5.0), with_keypoint(8.0), (1, 1, 3, 0)),
        (with_keypoint(5.0, 128), with_keypoint(8.0, 128), (0, 1, 1.5, 0)),  # of the input
        (with_classes(0.5), with_classes(0.5), (0, 1, 0, 0)),
        (with_classes(0.5), with_classes(0.54), (0, 1, 0, 0.04)),
        (with_classes(0.5), with_classes(0.7), (1, 1, 0, 0.2)),
        (with_depth(1, 1, 1, 1), with_depth(1.009, 0.991, 1, 1), (0, 1, 0, 0)),
        (with_depth(1, 1, 1, 1), with_depth(1, 1, 1.011, 1), (1, 1, 0, 0.25)),
        (with_depth(1, 1, 1, 1), with_depth(1, 1, 1, float("nan")), (1, 1, 0, 0.25)),
    ],
)
def test_difference_of_masks_keypoints_and_pixels(ours, theirs, expected):
    d = difference(ours, theirs, TOLERANCES["float16"], [64, 64])
    assert (d.far, d.mask, d.keypoint, d.pixels) == pytest.approx(expected, abs=1e-6)
