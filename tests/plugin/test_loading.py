"""The line about attention that starts from weights which know nothing of it."""

import logging

import pytest
import torch
from ultralytics import YOLO
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from tests.interpreters import yolo
from ultralytics_diffattn.plugin import loading


@pytest.fixture(scope="module")
def models():
    """Return a model of each YAML by name, built once."""
    built = {}

    def model(name):
        if name not in built:
            built[name] = YOLO(name).model
        return built[name]

    return model


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.WARNING, LOGGER.name)
    return caplog


CASES = [  # model, weights, whether there is a line
    ("yolo11n-diffattn.yaml", "yolo11n.yaml", True),
    ("yolo11n-diffattn-token.yaml", "yolo11n.yaml", True),
    ("yolo11n-diffattn-seg.yaml", "yolo11n.yaml", True),
    ("yolo11n-diffattn-paired.yaml", "yolo11n.yaml", False),  # starts as stock
    ("yolo26n-diffattn-paired.yaml", "yolo11n.yaml", False),
    ("yolo11n-diffattn.yaml", "yolo11n-diffattn.yaml", False),
    ("yolo11n-diffattn-token.yaml", "yolo11n-diffattn.yaml", True),
    ("yolo11n.yaml", "yolo11n-diffattn.yaml", False),
    ("yolo11n.yaml", "yolo11n.yaml", False),
]


@pytest.mark.parametrize(("name", "weights", "said"), CASES)
def test_who_is_told(models, log, name, weights, said):
    models(name).load(models(weights))
    lines = [r.getMessage() for r in log.records if "do not fit this attention" in r.getMessage()]
    assert len(lines) == said
    if said:
        assert "model.10.m.0.attn" in lines[0]
        assert f"diffattn train model={name} pretrained=yolo11n.pt data=... reconstruct=True" in lines[0]


def test_paired_with_a_live_lambda_is_told():
    d = tasks.yaml_model_load("yolo11n-diffattn-paired.yaml")
    d["backbone"][10][3] = [1024, 0.5, "paired", 0.5]
    model = tasks.DetectionModel(d, verbose=False)
    assert loading.unprepared(model, YOLO("yolo11n.yaml").model) == ["model.10.m.0.attn"]


@pytest.mark.parametrize("key", ["model", "ema"])
def test_checkpoints_are_read_as_ultralytics_reads_them(models, log, key):
    stock = models("yolo11n.yaml")
    checkpoint = {"model": stock, "ema": None} if key == "model" else {"model": None, "ema": stock}
    if key == "ema" and "ema" not in tasks.BaseModel.load.stock.__code__.co_consts:
        pytest.skip("this ultralytics reads `model` alone")
    models("yolo11n-diffattn.yaml").load(checkpoint)
    assert "do not fit this attention" in log.text


def test_silence_is_kept(models, log):
    models("yolo11n-diffattn.yaml").load(models("yolo11n.yaml"), verbose=False)
    assert "nothing of" not in log.text


def test_weights_are_those_of_ultralytics_alone(models):
    ours, stock = models("yolo11n-diffattn.yaml"), models("yolo11n.yaml")
    state = [v.clone() for v in ours.state_dict().values()]
    ours.load(stock)
    once = [v.clone() for v in ours.state_dict().values()]
    for tensor, value in zip(ours.state_dict().values(), state, strict=True):
        tensor.copy_(value)
    tasks.BaseModel.load.stock(ours, stock)
    assert all(torch.equal(a, b) for a, b in zip(once, ours.state_dict().values(), strict=True))


def test_attached_once():
    once = tasks.BaseModel.load
    loading.attach(tasks)
    assert tasks.BaseModel.load is once
    assert not hasattr(once.stock, "stock")


def test_the_stock_command_says_it_once(tiny, tmp_path):
    YOLO("yolo11n.yaml").save(tmp_path / "stock.pt")
    small = "epochs=1", "imgsz=64", "batch=4", "device=cpu", "workers=0", "plots=False"
    done = yolo("train", "model=yolo11n-diffattn.yaml", "pretrained=stock.pt", f"data={tiny}", *small, cwd=tmp_path)
    assert (done.stdout + done.stderr).count("do not fit this attention") == 1
    assert "pretrained=stock.pt data=... reconstruct=True" in done.stdout + done.stderr
