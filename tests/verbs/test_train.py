"""`diffattn train`: the stock trainer with the catalogue's budget, which the user's arguments overrule."""

import pytest
from ultralytics import YOLO

from ultralytics_diffattn import cli
from ultralytics_diffattn.data.catalogue import catalogue
from ultralytics_diffattn.errors import UserError
from ultralytics_diffattn.verbs.train import train
from ultralytics_diffattn.weights import reconstruction


@pytest.fixture
def trained(monkeypatch):
    """Return what the trainer would be called with."""
    calls = []
    monkeypatch.setattr(YOLO, "train", lambda self, **args: calls.append((self.task, args)))
    return calls


def test_budget_of_the_catalogue(trained):
    assert cli.main(["train", "model=yolo11n-diffattn.yaml", "data=shapes"]) == 0
    assert trained == [("detect", {**catalogue()["shapes"]["budget"], "data": "shapes.yaml"})]


def test_the_users_arguments_come_first(trained):
    assert cli.main(["train", "data=shapes", "epochs=3", "lr0=0.5", "mosaic=1.0"]) == 0
    _, args = trained[0]
    assert (args["epochs"], args["lr0"], args["mosaic"], args["imgsz"]) == (3, 0.5, 1.0, 160)


def test_a_data_yaml_has_no_budget(trained, tiny):
    assert cli.main(["train", "segment", "model=yolo11n-diffattn-seg.yaml", f"data={tiny}"]) == 0
    assert trained == [("segment", {"data": str(tiny)})]


def test_resume_takes_all_from_the_checkpoint(trained):
    assert cli.main(["train", "model=yolo11n.yaml", "resume"]) == 0
    assert trained == [("detect", {"resume": True})]


@pytest.fixture
def sixteen(tiny, tmp_path):
    """Return a data set of 16 train images, the fewest that serve for a reconstruction, and weights of stock."""
    images = [*(tiny.parent / "images" / "train").iterdir()] * 2
    for i, image in enumerate(images):
        for kind, suffix in (("images", image.suffix), ("labels", ".txt")):
            (tmp_path / kind / "train").mkdir(parents=True, exist_ok=True)
            file = tiny.parent / kind / "train" / f"{image.stem}{suffix}"
            (tmp_path / kind / "train" / f"{i}{suffix}").write_bytes(file.read_bytes())
    yaml = tiny.read_text().replace("val: images/val", f"val: {tiny.parent / 'images' / 'val'}")
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\n{yaml}")
    YOLO("yolo11n.yaml").save(tmp_path / "stock.pt")
    return tmp_path / "data.yaml", tmp_path / "stock.pt"


def test_reconstruct(sixteen, monkeypatch):
    """The training starts from a file of ours, reconstructed on its own images at its own size."""
    data, stock = sixteen
    calls = []
    monkeypatch.setattr(reconstruction, "STEPS", 2)
    monkeypatch.setattr(YOLO, "train", lambda self, **args: calls.append((args, YOLO(args["pretrained"]).model.model)))
    for model in ("yolo11n-diffattn.yaml", "yolo11n.yaml"):
        train(model, data=str(data), pretrained=str(stock), imgsz=64, reconstruct=True)
    (ours, rows), (plain, _) = calls
    assert type(rows[10]).__name__ == "C2PSA_Diff"
    assert ours.keys() == plain.keys() == {"data", "imgsz", "pretrained"}
    assert plain["pretrained"] == str(stock), "stock's has no attention of ours"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "needs the weights of a stock model in a file"),
        ({"pretrained": "nowhere.pt"}, "pretrained=nowhere.pt is none"),
        ({"reconstruct": "images"}, "must be True or False"),
    ],
)
def test_reconstruct_refuses(tiny, more, message):
    with pytest.raises(UserError, match=message):
        train("yolo11n-diffattn.yaml", data=str(tiny), **{"reconstruct": True, **more})
