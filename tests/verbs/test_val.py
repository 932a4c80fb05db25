"""`val`: ultralytics' own results, untouched, and AP by size beside them."""

import logging
import shutil

import pytest
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from tests.oracles import pycocotools_ap
from ultralytics_diffattn.verbs import val as module
from ultralytics_diffattn.verbs.val import val


@pytest.fixture
def budget(tmp_path):
    return dict(imgsz=320, batch=8, plots=False, device="cpu", verbose=False, project=str(tmp_path))


@pytest.mark.parametrize("options", [{}, {"rect": False}, {"single_cls": True}, {"save_json": True}], ids=str)
def test_trained_weights(options, photos, budget, caplog, monkeypatch):
    model, data = photos
    seen = {}

    def remember(truth, predictions):
        seen.update(truth=truth, predictions=predictions)
        return stock(truth, predictions)

    stock = module.ap_by_size
    monkeypatch.setattr(module, "ap_by_size", remember)
    with caplog.at_level(logging.INFO, LOGGER.name):
        metrics = val(model=model, data=data, **budget, **options)
    row = caplog.messages[-1].split()
    plain = YOLO(model).val(data=data, **budget, **options).results_dict
    assert metrics["results"] == {k: pytest.approx(float(v)) for k, v in plain.items()}
    assert len(seen["predictions"]) > 1000
    assert metrics["sizes"] == pytest.approx(pycocotools_ap(**seen), abs=1e-9, rel=0)
    assert metrics["sizes"]["AP"] == pytest.approx(plain["metrics/mAP50-95(B)"], abs=0.02)  # by another interpolation
    assert metrics["sizes"]["AP50"] == pytest.approx(plain["metrics/mAP50(B)"], abs=0.02)
    assert 0 < metrics["sizes"]["small"] < metrics["sizes"]["large"]
    assert row == ["all", str(len(seen["truth"]["annotations"])), *(f"{ap:.3g}" for ap in metrics["sizes"].values())]


@pytest.mark.parametrize(("suffix", "has"), [("-seg", True), ("-pose", True), ("-obb", False)])
def test_other_tasks(suffix, has, tiny, budget, tmp_path, caplog):
    """Segment and pose have upright boxes besides; rotated ones have no sizes in COCO's sense."""
    shutil.copytree(tiny.parent, tmp_path / "data")
    for file in (tmp_path / "data" / "labels" / "val").iterdir():
        rows = [[float(v) for v in line.split()] for line in file.read_text().splitlines()]
        corners = [
            (c, x - w / 2, y - h / 2, x + w / 2, y - h / 2, x + w / 2, y + h / 2, x - w / 2, y + h / 2)
            for c, x, y, w, h in rows
        ]
        rows = [(*row, *[0.5, 0.5, 2] * 17) for row in rows] if suffix == "-pose" else corners
        file.write_text("".join(" ".join(map(str, (int(row[0]), *row[1:]))) + "\n" for row in rows))
    (tmp_path / "data" / "data.yaml").write_text(
        tiny.read_text().replace("train: images/train", "train: images/val") + "kpt_shape: [17, 3]\n"
    )
    task = {"-seg": "segment", "-pose": "pose", "-obb": "obb"}[suffix]
    model = YOLO(f"yolo11n-diffattn{suffix}.yaml", task=task)
    model.ckpt = {"train_args": {"task": task}}  # as a trainer saves it; ultralytics 8.3 asks for it
    model.save(tmp_path / "m.pt")
    with caplog.at_level(logging.INFO, LOGGER.name):
        metrics = val(
            model=str(tmp_path / "m.pt"), data=str(tmp_path / "data" / "data.yaml"), **{**budget, "imgsz": 64}
        )
    assert "metrics/mAP50-95(B)" in metrics["results"]
    if has:
        assert metrics["sizes"].keys() == {"AP", "AP50", "small", "medium", "large"}
        assert 0 <= metrics["sizes"]["medium"] <= 1
    else:
        assert metrics["sizes"] is None
        assert "is for upright boxes" in caplog.messages[-1]


def test_classification(tiny, budget, tmp_path, caplog):
    for split in ("train", "val"):
        for c, image in enumerate(sorted((tiny.parent / "images" / "val").iterdir())[:2]):
            (tmp_path / "data" / split / f"class{c}").mkdir(parents=True)
            shutil.copy(image, tmp_path / "data" / split / f"class{c}")
    model = YOLO("yolo11n-diffattn-cls.yaml")
    model.ckpt = {"train_args": {"task": "classify"}}  # as a trainer saves it; ultralytics 8.3 asks for it
    model.save(tmp_path / "m.pt")
    with caplog.at_level(logging.INFO, LOGGER.name):
        metrics = val(model=str(tmp_path / "m.pt"), data=str(tmp_path / "data"), **{**budget, "imgsz": 64})
    assert "metrics/accuracy_top1" in metrics["results"]
    assert metrics["sizes"] is None
    assert "task=classify" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(), ValueError, "model= is missing"),
        (dict(model="no-such-weights.pt"), FileNotFoundError, "no-such-weights.pt"),
        (dict(model="yolo11n-diffattn.yaml", data="no-such.yaml"), FileNotFoundError, "no-such.yaml"),
    ],
    ids=str,
)
def test_bad_input(arguments, error, message, budget):
    with pytest.raises(error, match=message):
        val(**budget, **arguments)


def test_other_classes_are_refused(tiny, budget, tmp_path):
    YOLO("yolo11n-diffattn.yaml").save(tmp_path / "m.pt")
    with pytest.raises(ValueError, match="has 80 classes, the data set has 6"):
        val(model=str(tmp_path / "m.pt"), data=str(tiny), **budget)
