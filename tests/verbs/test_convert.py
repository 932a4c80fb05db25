"""`diffattn convert`: what comes out predicts as it should, can be trained, and nothing is lost by a mistake."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics import YOLO

from tests.places import ROOT
from ultralytics_diffattn import cli
from ultralytics_diffattn.verbs.convert import convert
from ultralytics_diffattn.weights import reconstruction


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Return the checkpoint of a stock model for 3 classes, as ultralytics saves one."""
    folder = tmp_path_factory.mktemp("stock")
    model = YOLO("yolo11n.yaml")
    model.model = type(model.model)(model.model.yaml | {"nc": 3}, verbose=False)
    model.model.names = {0: "a", 1: "b", 2: "c"}
    model.model.args = {"task": "detect", "imgsz": 64}
    model.save(folder / "in.pt")
    return folder / "in.pt"


def test_convert(stock, tmp_path):
    assert cli.main(["convert", str(stock), "model=yolo11-diffattn-paired.yaml", str(tmp_path / "out.pt")]) == 0
    before, after = YOLO(stock), YOLO(tmp_path / "out.pt")
    assert after.names == {0: "a", 1: "b", 2: "c"}
    assert after.model.yaml["scale"] == "n"
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        a, b = (m.model.eval()(x)[0] for m in (before, after))
    assert (a - b).abs().max() <= 1e-5 * a.abs().max()
    with open(tmp_path / "out.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [row["tensor"] for row in rows] == list(after.model.state_dict())
    assert {row["status"] for row in rows} == {"kept", "added"}


def test_the_result_can_be_trained(stock, tiny, tmp_path):
    convert(str(stock), "yolo11n-diffattn.yaml", str(tmp_path / "out.pt"))
    model = YOLO(tmp_path / "out.pt")
    model.train(data=tiny, epochs=1, imgsz=64, batch=4, workers=0, plots=False, device="cpu", project=tmp_path)
    assert "C2PSA_Diff" in type(YOLO(model.trainer.best).model.model[10]).__name__


def test_a_detector_that_was_fine_tuned_on_other_classes(stock, tmp_path):
    """ultralytics keeps the width that the class branches had for the first classes."""
    tuned = YOLO("yolo11n.yaml")
    tuned.model = type(tuned.model)(tuned.model.yaml | {"nc": 90}, verbose=False)
    tuned.model.load(YOLO("yolo11n.yaml").model, verbose=False)
    tuned.model.args = {"task": "detect"}
    tuned.save(tmp_path / "tuned.pt")
    for yaml in ("yolo11n-diffattn-paired.yaml", "yolo11n-diffattn-p4.yaml"):
        convert(str(tmp_path / "tuned.pt"), yaml, str(tmp_path / f"{yaml}.pt"))
        a, b = (YOLO(tmp_path / f).model.model[-1].state_dict() for f in ("tuned.pt", f"{yaml}.pt"))
        assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_no_file_is_overwritten(stock, tmp_path):
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(FileExistsError, match=r"out\.csv exists already"):
        convert(str(stock), "yolo11n-diffattn.yaml", str(tmp_path / "out.pt"))
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("out.csv", "precious")]


def test_what_is_new_is_the_same_each_time(stock, tmp_path):
    for name in ("a.pt", "b.pt"):
        convert(str(stock), "yolo11n-diffattn-token.yaml", str(tmp_path / name))
    a, b = (YOLO(tmp_path / name).model.state_dict() for name in ("a.pt", "b.pt"))
    assert all(torch.equal(value, b[name]) for name, value in a.items())


def test_a_real_checkpoint_predicts_the_same(photos, tmp_path):
    weights, data = photos
    report = convert(weights, "yolo11-diffattn-paired.yaml", str(tmp_path / "out.pt"))
    assert report["difference"] <= 1e-5
    images = f"{data.removesuffix('data.yaml')}images/val"
    a, b = (YOLO(w).predict(images, verbose=False, imgsz=320) for w in (weights, tmp_path / "out.pt"))
    assert sum(len(r.boxes) for r in a) > 0
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x.boxes.data, y.boxes.data, rtol=1e-4, atol=1e-3)


def test_a_pose_checkpoint_predicts_the_same(shared, tmp_path):
    weights = shared / "weights" / "yolo11n-pose.pt"
    assert convert(str(weights), "yolo11-diffattn-paired-pose.yaml", str(tmp_path / "out.pt"))["difference"] <= 1e-5


def test_a_model_with_a_row_more_keeps_what_ultralytics_would_lose(stock, tmp_path):
    yaml = str(ROOT / "cfg" / "yolo11n-diffattn-p4.yaml")
    tensors = convert(str(stock), yaml, str(tmp_path / "out.pt"))["tensors"]
    assert {t.name.split(".")[1] for t in tensors if t.status == "added" and ".m.0.attn." not in t.name} == {"7"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "checkpoint is missing"),
        (["IN"], "model= is missing"),
        (["IN", "model=IN"], "must be a model YAML"),
        (["nowhere.pt", "model=yolo11n-diffattn.yaml"], "nowhere.pt does not exist"),
        (["IN", "model=yolo11n-difattn.yaml"], "yolo11"),
        (["IN", "model=yolo11s-diffattn.yaml"], "is of scale 'n', model=yolo11s-diffattn.yaml of 's'"),
        (["IN", "model=yolo11-diffattn-seg.yaml"], "is for detect, model=yolo11-diffattn-seg.yaml for segment"),
        (["IN", "model=yolov8n.yaml"], "the layers differ: at row 2"),
        (["IN", "model=yolo11n-diffattn.yaml", "IN"], "exists already"),
        (["IN", "model=yolo11n-diffattn.yaml", "OUT.onnx"], "must end with .pt"),
        (["FOLDER", "model=yolo11n-diffattn.yaml"], "is a folder"),
        (["IN", "model=rtdetr-l-diffattn-paired.yaml"], "layers differ: at row 0"),
        (["IN", "model=yolo11n-diffattn.yaml", "out=OUT", "epochs=3"], "epochs is not an argument of convert"),
        (["IN", "model=yolo11n-diffattn.yaml", "OUT", "more.pt"], "more.pt"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(stock, tmp_path, words, message, capsys):
    before = stock.read_bytes()
    words = [
        w.replace("IN", str(stock)).replace("FOLDER", str(stock.parent)).replace("OUT", str(tmp_path / "out.pt"))
        for w in words
    ]
    assert cli.main(["convert", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert stock.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def images(tmp_path):
    """Return a folder of 16 images."""
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
    return tmp_path / "images"


def lines(monkeypatch):
    """Return a list that gets what is logged."""
    from ultralytics.utils import LOGGER

    said = []
    monkeypatch.setattr(LOGGER, "info", said.append)
    return said


def test_reconstruct_from_a_folder(stock, images, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "STEPS", 5)
    said = lines(monkeypatch)
    words = [
        str(stock),
        "model=yolo11-diffattn.yaml",
        str(tmp_path / "out.pt"),
        f"reconstruct={images}",
        "seed=3",
        "imgsz=64",
    ]
    assert cli.main(["convert", *words]) == 0
    text = "\n".join(map(str, said))
    assert "model.10.m.0.attn: squared error on held-out images" in text
    assert "16 images and their mirror images" in text
    assert "on 16 of these images" in text
    assert "mAP50-95" not in text
    plain, reconstructed = tmp_path / "plain.pt", YOLO(tmp_path / "out.pt").model.float().state_dict()
    convert(str(stock), "yolo11-diffattn.yaml", str(plain))
    for name, value in YOLO(plain).model.float().state_dict().items():
        assert name.startswith("model.10.m.0.attn.") or torch.equal(value, reconstructed[name])


def test_reconstruct_from_a_data_set_reports_map(stock, tiny, images, tmp_path, monkeypatch):
    monkeypatch.setattr(reconstruction, "STEPS", 2)
    said = lines(monkeypatch)
    data = tmp_path / "data.yaml"
    data.write_text(
        f"train: {images}\nval: {tiny.parent / 'images' / 'val'}\nnames: [a, b, c, d, e, f]\n",
    )
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    six = tmp_path / "six.pt"
    model = YOLO("yolo11n.yaml")
    model.model = type(model.model)(model.model.yaml | {"nc": 6}, verbose=False)
    model.model.args = {"task": "detect", "imgsz": 64}
    model.save(six)
    out = convert(str(six), "yolo11-diffattn.yaml", str(tmp_path / "out.pt"), reconstruct=str(data), imgsz=64)
    assert len(out["blocks"]) == 1
    assert any("mAP50-95 of boxes on val" in str(line) for line in said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reconstruct=missing"], "was not found"),
        (["reconstruct={few}"], "has 3 images that can be read"),
        (["reconstruct={empty}"], "holds no images"),
        (["reconstruct={images}", "imgsz=-3"], "must be whole numbers"),
        (["reconstruct={images}", "imgsz=a"], "must be whole numbers"),
    ],
)
def test_bad_reconstructions_write_nothing(stock, images, tmp_path, capsys, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    for file in sorted(images.iterdir())[:3]:
        (tmp_path / "few" / file.name).write_bytes(file.read_bytes())
    places = {name: tmp_path / name for name in ("few", "empty", "images")}
    given = [word.format(**places) for word in words]
    assert cli.main(["convert", str(stock), "model=yolo11-diffattn.yaml", str(tmp_path / "out.pt"), *given]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))
