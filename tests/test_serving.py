"""examples/serving/: the client without torch and ultralytics predicts what ultralytics predicts of the same file."""

import functools
import re
import runpy
import shutil
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from ultralytics import RTDETR, YOLO

from tests.interpreters import run
from tests.pages import FENCE
from tests.places import ROOT
from tests.samples import SMALL_RTDETR, awake

SERVING = ROOT / "examples" / "serving"
CLIENT = runpy.run_path(str(SERVING / "client.py"))


@pytest.fixture(scope="module")
def exported(shared, tmp_path_factory):
    """Return a function that exports a paired model with weights that were trained on COCO and a live second map.

    The same arguments give the same file: copy it before changing it.
    """
    torch.manual_seed(0)  # of the second map; with another, two boxes can be as good as each other
    yolo = YOLO("yolo11n-diffattn-paired.yaml").load(shared / "weights" / "yolo11n_coco.pt")
    yolo.model.model[10].m[0].attn.lam.data.fill_(0.05)

    @functools.cache
    def make(**arguments):
        yolo.save(weights := tmp_path_factory.mktemp("exported") / "paired.pt")
        return export(weights, **arguments)

    return make


def export(weights, **arguments):
    """Return the ONNX file that ultralytics makes of weights."""
    kind = RTDETR if "rtdetr" in weights.name else YOLO
    return kind(weights).export(format="onnx", device="cpu", simplify=False, verbose=False, **arguments)


def photos_of(shared):
    """Return real images, and generated ones: tiny, thin, and of the model's own size."""
    files = sorted((shared / "data" / "coco356" / "images" / "val").iterdir())[:8]
    generator = np.random.default_rng(0)
    drawn = [generator.integers(0, 256, (*size, 3), np.uint8) for size in ((5, 7), (400, 11), (320, 320), (97, 33))]
    return [cv2.imread(str(f)) for f in files] + [cv2.resize(cv2.imread(str(files[0])), (320, 320)), *drawn]


def agree(file, images, batch=1, kind=YOLO, conf=0.25, **options):
    """Assert that the client's boxes are ultralytics', and return their number."""
    loaded, model, boxes = CLIENT["load"](file), kind(file), 0
    for i in range(0, len(images), batch):
        some = images[i : i + batch]
        ours = CLIENT["predict"](some, *loaded, conf=conf, **options)
        theirs = model.predict(some, conf=conf, verbose=False, **options)
        for a, b in zip(ours, theirs, strict=True):
            b = b.boxes.data.numpy()
            assert a.shape == b.shape
            np.testing.assert_allclose(a[:, :4], b[:, :4], rtol=0, atol=1e-3)
            np.testing.assert_allclose(a[:, 4], b[:, 4], rtol=0, atol=1e-6)
            assert (a[:, 5] == b[:, 5]).all()
            boxes += len(a)
    return boxes


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        (dict(imgsz=320), dict()),
        (dict(imgsz=(256, 320)), dict(conf=0.15, iou=0.45)),
        (dict(imgsz=320, nms=True), dict()),
        (dict(imgsz=320, batch=3), dict(batch=3)),
        (dict(imgsz=320, dynamic=True), dict(imgsz=(320, 320))),
        (dict(imgsz=320, dynamic=True), dict(imgsz=(192, 416), batch=4)),
    ],
    ids=str,
)
def test_boxes_of_a_trained_model(arguments, used, exported, shared):
    assert agree(exported(**arguments), photos_of(shared), **used) >= 20


def test_equal_images_in_a_dynamic_batch(exported, shared):
    """Only then does ultralytics leave out the grey that the stride does not ask for."""
    file = exported(imgsz=320, dynamic=True)
    image = photos_of(shared)[0]
    assert agree(file, [image, image[:, ::-1].copy()] * 2, batch=4, imgsz=(320, 320)) > 0


def test_a_model_without_nms(shared, tmp_path):
    torch.manual_seed(0)
    yolo = awake(YOLO("yolo26n-diffattn-paired.yaml"))
    yolo.save(tmp_path / "yolo26.pt")
    file = export(tmp_path / "yolo26.pt", imgsz=128, nms=False)
    assert onnx.load(file).graph.output[0].type.tensor_type.shape.dim[-1].dim_value == 6
    assert agree(file, photos_of(shared)[:3], conf=1e-3) > 0


def test_rtdetr(shared, tmp_path):
    """It stretches images, and its boxes are shares of them."""
    torch.manual_seed(0)
    (tmp_path / "rtdetr.yaml").write_text(SMALL_RTDETR)
    yolo = RTDETR(str(tmp_path / "rtdetr.yaml"))
    yolo.save(tmp_path / "rtdetr.pt")
    assert agree(export(tmp_path / "rtdetr.pt", imgsz=128), photos_of(shared)[:3], kind=RTDETR, conf=1e-3) > 0


def test_bad_input(exported, tmp_path):
    file = shutil.copy(exported(imgsz=320, dynamic=True), tmp_path)
    image = np.zeros((50, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=r"1 images, 100x96: .* multiples of 32"):
        CLIENT["predict"]([image], *CLIENT["load"](file), imgsz=(100, 96))
    with pytest.raises(ValueError, match="0 images, 320x320"):
        CLIENT["predict"]([], *CLIENT["load"](file))
    model = onnx.load(file)
    for task in ("segment", None):
        del model.metadata_props[:]
        if task:
            onnx.helper.set_model_props(model, {"task": task})
        onnx.save(model, file)
        with pytest.raises(ValueError, match=f"say task={task}: give a detector that ultralytics exported"):
            CLIENT["predict"]([image], *CLIENT["load"](file))


BLOCKED = """
import runpy, sys
for name in ("torch", "ultralytics", "ultralytics_diffattn"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_command_without_torch_and_ultralytics(exported, shared, tmp_path):
    file = exported(imgsz=320)
    photo = sorted((shared / "data" / "coco356" / "images" / "val").iterdir())[0]
    done = run(sys.executable, "-c", BLOCKED, SERVING / "client.py", file, photo)
    (expected,) = YOLO(file, task="detect").predict(str(photo), verbose=False)
    lines = [line.split()[1:] for line in done.stdout.splitlines()]
    assert [int(line[0]) for line in lines] == expected.boxes.cls.tolist()
    assert [float(x) for line in lines for x in line[2:]] == pytest.approx(expected.boxes.xyxy.flatten(), abs=0.06)
    failed = run(sys.executable, "-c", BLOCKED, SERVING / "client.py", file, tmp_path / "none.jpg", check=False)
    assert "none.jpg is missing, or no image." in failed.stderr


PAGE = (ROOT / "docs" / "how-to" / "serving.md").read_text(encoding="utf-8")
BLOCKS = [block for _, language, block in FENCE.findall(PAGE) if not language]


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_code_on_the_page(runtime, exported, shared, tmp_path, monkeypatch):
    """Both runtimes give the boxes that ultralytics gives with ONNX Runtime."""
    pytest.importorskip(runtime)
    blocks = [b for b in BLOCKS if "import load" in b and "triton" not in b]
    (code,) = (b for b in blocks if ("openvino" in b) == (runtime == "openvino"))
    shutil.copy(exported(imgsz=320), tmp_path / "best.onnx")
    photo = sorted((shared / "data" / "coco356" / "images" / "val").iterdir())[0]
    shutil.copy(photo, tmp_path / "image.jpg")
    monkeypatch.syspath_prepend(SERVING)
    monkeypatch.chdir(tmp_path)
    names = {"cv2": cv2, "images": [cv2.imread(str(photo))]}
    exec(code, names)
    (expected,) = YOLO("best.onnx", task="detect").predict(names["images"], verbose=False)
    assert len(expected)
    np.testing.assert_allclose(names["rows"][0], expected.boxes.data, rtol=0, atol=0.02)


def test_configuration_of_triton(exported):
    """It is the page's, and its names, types and sizes are those of an exported file."""
    config = (SERVING / "triton" / "detector" / "config.pbtxt").read_text(encoding="utf-8")
    assert config in BLOCKS
    file = exported(imgsz=320, dynamic=True)
    infer, _, shape = CLIENT["load"](file)
    output = infer(np.zeros((3, 3, 64, 96), np.float32))  # more than one, and not square
    graph = onnx.load(file).graph
    for way, (node,), sizes in (("input", graph.input, shape), ("output", graph.output, output.shape)):
        pattern = way + r' \[\{ name: "(\w+)", data_type: TYPE_(\w+), dims: \[(.*?)\]'
        name, kind, dims = re.search(pattern, config).groups()
        assert (node.name, "FP32", onnx.TensorProto.FLOAT) == (name, kind, node.type.tensor_type.elem_type)
        assert all(int(dim) in (-1, size) for dim, size in zip(dims.split(","), sizes[1:], strict=True))
    assert isinstance(shape[0], str)
    assert len(output) == 3
