"""`diffattn train`: the stock trainer with the catalogue's budget, which the user's arguments overrule."""

import pytest
from ultralytics import YOLO

from ultralytics_diffattn import cli
from ultralytics_diffattn.data.catalogue import catalogue


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
