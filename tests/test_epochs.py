"""What is noted of each epoch, and what is made of it after kills."""

from types import SimpleNamespace

import pytest
import torch
from ultralytics import YOLO

from ultralytics_diffattn import epochs

HEADER = "process,epoch,seconds,memory_mb,model.10.m.0.attn\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["7,1,2.0,100,0.8", "7,2,4.0,120,0.7", "7,3,3.0,110,0.6"], (3, 3.0, 9.0, 120.0, [])),
        (["7,1,2.0,100,0.8", "9,2,4.0,120,0.7"], (2, 3.0, 6.0, 120.0, [1])),  # taken up again after epoch 1
        (["7,1,2.0,100,0.8", "7,2,9.0,100,0.7", "9,2,4.0,120,0.7"], (2, 3.0, 6.0, 120.0, [1])),  # epoch 2 twice
        (["7,1,2.0,100,0.8", "8,2,2.0,100,0.7", "9,3,2.0,100,0.7"], (3, 2.0, 6.0, 100.0, [1, 2])),
        (["7,1,2.0,100,0.8", "7,2"], (1, 2.0, 2.0, 100.0, [])),  # torn in the middle of a row
        ([], (0, None, 0, None, [])),
    ],
)
def test_summary(tmp_path, rows, expected):
    (tmp_path / "epochs.csv").write_text(HEADER + "\n".join(rows))
    keys = "epochs", "seconds_per_epoch", "seconds", "peak_memory_mb", "resumed_after"
    assert epochs.summary(tmp_path) == dict(zip(keys, expected, strict=True))


def test_a_row_does_not_join_a_torn_one(tmp_path):
    model = YOLO("yolo11n-diffattn.yaml").model
    trainer = SimpleNamespace(
        save_dir=tmp_path / "train",
        epoch=0,
        epochs=3,
        diffattn_seconds=2.0,
        device=torch.device("cpu"),
        ema=SimpleNamespace(ema=model),
    )
    epochs.note(trainer)
    with open(tmp_path / "epochs.csv", "a") as f:
        f.write("7,2,9")  # killed here
    trainer.epoch = 1
    epochs.note(trainer)
    assert [(row["epoch"], row["seconds"]) for row in epochs.read(tmp_path)] == [("1", "2.0"), ("2", "2.0")]


def test_nothing_noted(tmp_path):
    assert epochs.read(tmp_path) == []


def test_lambdas():
    model = YOLO("yolo11l-diffattn.yaml").model  # two blocks
    found = epochs.lambdas(model)
    assert list(found) == ["model.10.m.0.attn", "model.10.m.1.attn"]
    assert found["model.10.m.1.attn"] == pytest.approx(float(model.model[10].m[1].attn.compute_lambda().mean()))
    assert epochs.lambdas(YOLO("yolo11n.yaml").model) == {}


def test_peak_memory_sees_an_allocation():
    before = epochs.peak_memory(torch.device("cpu"))
    held = torch.ones(int(before * 1e6 / 4) + 50_000_000)  # more than there ever was
    assert epochs.peak_memory(torch.device("cpu")) > before + 100
    del held
