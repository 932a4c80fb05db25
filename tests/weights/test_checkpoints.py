"""Checkpoints that cannot be read say why; a new one is there whole or not at all."""

import pytest
import torch
from torch import nn
from ultralytics import YOLO

from ultralytics_diffattn.weights import checkpoints


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "good.pt"
    YOLO("yolo11n.yaml").save(file)
    return file


def test_load_prefers_the_averaged_weights(tmp_path):
    model, ema = YOLO("yolo11n.yaml").model, YOLO("yolo11n.yaml").model.half()
    torch.save({"model": model, "ema": ema, "epoch": 3}, tmp_path / "last.pt")
    found, checkpoint = checkpoints.load(str(tmp_path / "last.pt"))
    assert checkpoint["epoch"] == 3
    assert not found.training
    expected = ema.state_dict()
    assert all(torch.equal(v, expected[n].to(v.dtype)) for n, v in found.state_dict().items())


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_off(good, tmp_path, share):
    content = good.read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"cut\.pt cannot be read as a checkpoint .*cut off"):
        checkpoints.load(str(tmp_path / "cut.pt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": 1}, "holds no model of ultralytics"),
        ({"model": nn.Linear(1, 1)}, "holds no model of ultralytics"),
        ({"model": {"model.0.conv.weight": torch.zeros(1)}}, "holds no model of ultralytics"),  # a bare state dict
        ([1, 2], "holds no model of ultralytics"),
    ],
)
def test_something_else(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message):
        checkpoints.load(str(tmp_path / "x.pt"))


def test_fused(tmp_path):
    torch.save({"model": YOLO("yolo11n.yaml").model.fuse(verbose=False)}, tmp_path / "fused.pt")
    with pytest.raises(ValueError, match="fused for prediction"):
        checkpoints.load(str(tmp_path / "fused.pt"))


def test_missing():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt does not exist"):
        checkpoints.load("nowhere.pt")
    with pytest.raises(ValueError, match="checkpoint is missing"):
        checkpoints.load("")


def test_new_file_overwrites_nothing(good, tmp_path):
    assert checkpoints.new_file(str(tmp_path / "new.pt"), ".pt") == tmp_path / "new.pt"
    with pytest.raises(FileExistsError, match="exists already"):
        checkpoints.new_file(str(good), ".pt")


def test_save_is_all_or_nothing(tmp_path, monkeypatch):
    def torn(_, file):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save({}, tmp_path / "deep" / "out.pt")
    assert list((tmp_path / "deep").iterdir()) == []
